"""The named alternatives: each in a virtual environment of its own, and its server on this machine.

Every peer runs as its documentation starts it, on SQLite where it has the choice, as ours does here, and as durable.
`environment` installs it from PyPI at its pinned version, once, below `.bench/`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from cpt_client.embedded.stack import free_port

ROOT = Path(__file__).parents[2]
SCRIPTS = Path(__file__).parent / "in_peer"
ENVIRONMENTS = ROOT / ".bench"

REQUIREMENTS = {
    "mlflow": ["mlflow==3.17.2"],
    "prefect": ["prefect==3.8.0", "fastapi==0.139.*"],  # with the latest FastAPI its server does not start
    "ray": ["ray[default]==2.60.0"],
}
"""What is installed of each peer."""

START_SECONDS = 180.0


def environment(peer: str) -> Path:
    """The `bin` folder of the peer's virtual environment, made if it is missing."""
    folder = ENVIRONMENTS / peer
    if not (folder / "installed").exists():
        venv.create(folder, clear=True, with_pip=True)
        pip = [str(folder / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *REQUIREMENTS[peer]], check=True, stdout=sys.stderr)
        (folder / "installed").touch()
    return folder / "bin"


def measure(peer: str, script: str, *arguments: str) -> dict[str, Any]:
    """What a script of `in_peer/` prints, run by the peer's own Python."""
    command = [str(environment(peer) / "python"), str(SCRIPTS / script), *arguments]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=_environment(peer))
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@contextmanager
def mlflow() -> Iterator[tuple[str, Path]]:
    """URL of an MLflow tracking server on SQLite, and its database."""
    with _served("mlflow", _mlflow_command, lambda url: f"{url}/health") as (url, folder):
        yield url, folder / "mlflow.db"


@contextmanager
def prefect() -> Iterator[str]:
    """URL of a Prefect server on SQLite, every commit flushed to disk, as MLflow's are and ours."""
    _flush_commits(environment("prefect").parent)
    with _served("prefect", _prefect_command, lambda url: f"{url}/api/health") as (url, _folder):
        yield url


@contextmanager
def ray(slots: int) -> Iterator[str]:
    """URL of the job server of a Ray head with so many CPUs."""
    port = free_port(0)
    program = str(environment("ray") / "ray")
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp") as folder:  # its sockets need a short path
        command = [program, "start", "--head", "--block", f"--port={free_port(0)}", f"--num-cpus={slots}"]
        command += ["--include-dashboard=true", "--dashboard-host=127.0.0.1", f"--dashboard-port={port}"]
        command += [f"--temp-dir={folder}", "--disable-usage-stats"]
        with _process("ray", command, Path(folder)):
            url = f"http://127.0.0.1:{port}"
            _wait(f"{url}/api/version")
            yield url


def _flush_commits(prefect: Path) -> None:
    """Prefect sets `synchronous = NORMAL`, by which a commit that was answered may be lost with the power. There is no
    option for it, so its source in this environment is changed.
    """
    (source,) = prefect.glob("lib/python*/site-packages/prefect/server/database/configurations.py")
    ours = source.read_text().replace("PRAGMA synchronous = NORMAL;", "PRAGMA synchronous = FULL;")
    assert ours.count("PRAGMA synchronous = FULL;") == 1, "Prefect sets it in another way now"
    source.write_text(ours)


def _mlflow_command(folder: Path, port: int) -> list[str]:
    store = f"sqlite:///{folder}/mlflow.db"
    options = ["--host", "127.0.0.1", "--port", str(port), "--backend-store-uri", store, "--workers", "1"]
    return ["mlflow", "server", *options, "--default-artifact-root", str(folder / "artifacts")]


def _prefect_command(_folder: Path, port: int) -> list[str]:
    return ["prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]


@contextmanager
def _served(
    peer: str, command: Callable[[Path, int], list[str]], health: Callable[[str], str]
) -> Iterator[tuple[str, Path]]:
    port = free_port(0)
    with tempfile.TemporaryDirectory(prefix=f"{peer}-") as name:
        program, *options = command(Path(name), port)
        with _process(peer, [str(environment(peer) / program), *options], Path(name)):
            url = f"http://127.0.0.1:{port}"
            _wait(health(url))
            yield url, Path(name)


@contextmanager
def _process(peer: str, command: list[str], folder: Path) -> Iterator[None]:
    log = folder / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=_environment(peer) | {"PREFECT_HOME": str(folder / "prefect"), "HOME": str(folder)},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield
    except BaseException:
        sys.stderr.write(log.read_text(errors="replace")[-3000:])
        raise
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    import psutil

    family = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
    process.terminate()
    _, alive = psutil.wait_procs(family, timeout=10)
    for one in alive:
        one.kill()


def _environment(peer: str) -> dict[str, str]:
    mine = {name: value for name, value in os.environ.items() if not name.startswith(("CPT_", "PYTHON"))}
    path = f"{ENVIRONMENTS / peer / 'bin'}:{os.environ.get('PATH', '')}"
    quiet = {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "1"}
    return mine | quiet | {"PATH": path}


def _wait(url: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            if httpx.get(url, timeout=5, trust_env=False).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise TimeoutError(f"{url} does not answer")
