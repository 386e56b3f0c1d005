"""A stack of containers from the repository's own compose file, under a project name of its own."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from cpt_client.embedded.stack import free_port
from tests.e2e.stack import until

ROOT = Path(__file__).parents[2]
INDEXES = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_TRUSTED_HOST")
SWITCH, BUILT = "CPT_COMPOSE_TEST", "CPT_COMPOSE_BUILT"
"""Set to 1: these tests are wanted; the images are built already."""


def compose() -> list[str]:
    """`docker compose`, or the older program."""
    plugin = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
    return ["docker", "compose"] if plugin.returncode == 0 else ["docker-compose"]


SECRETS = ("CPT_DATABASE_PASSWORD", "CPT_BROKER_PASSWORD", "CPT_AGENT_TOKEN", "CPT_METRICS_TOKEN")


def new_secrets() -> dict[str, str]:
    """Values that no URL, shell or configuration file may stumble over."""
    awkward = "@:/#?%24 \"'\\&"
    return {name: secrets.token_urlsafe(24) + (awkward if "PASSWORD" in name else "") for name in SECRETS}


class Containers:
    """Compose files, up."""

    def __init__(self, env: dict[str, str]) -> None:
        self.project = f"cpt-test-{secrets.token_hex(4)}"
        port = free_port(0)
        self.env = os.environ | {"CPT_PORT": str(port), "COMPOSE_PROJECT_NAME": self.project} | env
        self.command = compose()
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False)

    def run(self, *arguments: str, check: bool = True, seconds: float = 600) -> str:
        """What a compose command prints."""
        done = subprocess.run(
            [*self.command, *arguments],
            env=self.env,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        assert done.returncode == 0 or not check, done.stderr[-4000:]
        return done.stdout

    def docker(self, *arguments: str) -> str:
        """What a command of the engine prints."""
        return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=True).stdout

    def inspect(self, container: str) -> dict[str, Any]:
        """What the engine knows of a container, or of an image."""
        found: dict[str, Any] = json.loads(self.docker("inspect", container))[0]
        return found

    def ids(self, service: str) -> list[str]:
        """The containers of a service."""
        return self.run("ps", "-q", service).split()

    def up(self, workers: int = 1) -> None:
        """Have everything running."""
        self.run("up", "-d", "--no-build", "--scale", f"worker={workers}", seconds=300)

    def open(self) -> None:
        """Have an operator's key, and a worker that is there."""
        key = self.run("run", "--rm", "-T", "api", "python", "-m", "api", "create-key", "root").strip()
        self.http.headers["Authorization"] = f"Bearer {key}"
        until(lambda: self.http.get("/v1/workers").json()["data"], "the worker to report", 120)

    def close(self) -> None:
        """Take all down, and keep what was said."""
        with (ROOT / ".compose-test.log").open("a") as log:
            log.write(self.run("logs", "--no-color", check=False))
        self.run("down", "--volumes", "--timeout", "5", check=False)
        self.http.close()

    def job(self, job_id: str) -> dict[str, Any]:
        """The job as the API shows it."""
        found: dict[str, Any] = self.http.get(f"/v1/jobs/{job_id}").raise_for_status().json()
        return found

    def submit(self, steps: int) -> str:
        """A CPT job on handwritten digits, two ranks."""
        spec = {
            "model": {"name": "resnet8"},
            "dataset": {"name": "digits"},
            "precision": {"schedule": "cosine", "cycles": 4, "min_bits": 3, "max_bits": 8},
            "training": {"steps": steps, "batch_size": 32, "seed": 7},
            "checkpoint": {"every_steps": 20},
            "resources": {"devices": 2},
        }
        answer = self.http.post("/v1/jobs", json=spec)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def wait(self, job_id: str, *, step: int = 0, state: str | None = None, seconds: float = 240) -> dict[str, Any]:
        """The job once it has completed so many steps, or is in the state."""

        def reached() -> dict[str, Any] | None:
            try:
                job = self.job(job_id)
            except httpx.HTTPError:  # a database that is being restarted
                return None
            there = job["state"] == state if state else (job["progress"] or {}).get("step", 0) >= step
            return job if there else None

        return until(reached, f"{job_id} to reach {state or step}", seconds)


@pytest.fixture(scope="session")
def containers() -> Iterator[Containers]:
    """Built, up, and open to an operator's key."""
    if os.environ.get(SWITCH) != "1":
        pytest.skip("builds and starts containers for minutes: `make compose-test`")
    if (
        shutil.which("docker") is None
        or subprocess.run(["docker", "info"], capture_output=True, check=False).returncode
    ):
        pytest.skip("no Docker engine answers")
    (ROOT / ".compose-test.log").unlink(missing_ok=True)
    stack = Containers(new_secrets())
    try:
        if os.environ.get(BUILT) != "1":
            indexes = [f"--build-arg={name}" for name in INDEXES if os.environ.get(name)]
            stack.run("build", *indexes, seconds=3000)
        stack.up()
        stack.open()
        yield stack
    finally:
        stack.close()


@pytest.fixture
def containers_with_files(containers: Containers, tmp_path: Path) -> Iterator[Containers]:
    """The same images once more, with their secrets in files."""
    for name, value in new_secrets().items():
        (tmp_path / name).write_text(f"{value}\n")
    files = {"CPT_SECRETS": str(tmp_path), "COMPOSE_FILE": "docker-compose.yml:docker-compose.secrets.yml"}
    stack = Containers(dict.fromkeys(SECRETS, "file") | files)
    try:
        stack.up()
        stack.open()
        yield stack
    finally:
        stack.close()
