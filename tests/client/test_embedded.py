"""`cpt up`: a real broker, API and worker under one supervisor."""

from __future__ import annotations

import json
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from cpt_client import Client
from tests.client.conftest import SPEC, wait_for
from tests.client.embedded import Up, up_command


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    up = Up(tmp_path_factory.mktemp("embedded") / "home")
    yield up
    up.end(signal.SIGKILL)


def test_the_ready_file_leads_to_a_server_with_docs(up: Up) -> None:
    assert up.pid == up.process.pid
    assert httpx.get(f"{up.url}/readyz", trust_env=False).status_code == 200
    assert httpx.get(f"{up.url}/docs", trust_env=False).status_code == 200
    told = up.told.read_text()
    assert f"CPT_URL={up.url} cpt submit SPEC.yaml --watch" in told
    assert str(up.home) in told


def test_it_runs_a_broker_an_api_and_a_worker(up: Up) -> None:
    for part in ("valkey-server", "api", "worker"):
        assert up.child(part).is_running()


def test_what_it_keeps_is_closed_to_other_users(up: Up) -> None:
    assert stat.S_IMODE(up.home.stat().st_mode) == 0o700
    for name in ("agent.secret", "broker.secret", "ready.json", "broker/valkey.conf"):
        assert stat.S_IMODE((up.home / name).stat().st_mode) == 0o600


def test_no_secret_is_in_a_command_line(up: Up) -> None:
    secrets = [(up.home / f"{name}.secret").read_text() for name in ("agent", "broker")]
    lines = [" ".join(process.cmdline()) for process in up.tree()]
    assert not [line for line in lines for secret in secrets if secret in line]


def test_the_broker_refuses_strangers(up: Up) -> None:
    connections = up.child("valkey-server").net_connections("tcp4")
    (address,) = [found.laddr for found in connections if found.status == psutil.CONN_LISTEN]
    assert address.ip == "127.0.0.1"
    with socket.create_connection(address, timeout=5) as stranger:
        stranger.sendall(b"PING\r\n")
        assert stranger.recv(100).startswith(b"-NOAUTH")


def doctor(up: Up) -> tuple[int, dict[str, str]]:
    """Exit code of `cpt doctor`, and the status of each of the server's parts."""
    command = [sys.executable, "-m", "cpt_client", "doctor", "--json", "--url", up.url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    checks = json.loads(done.stdout)["checks"]
    return done.returncode, {check["name"]: check["status"] for check in checks if check["where"] == "server"}


def test_the_doctor_finds_all_parts_well_and_then_the_one_that_hangs(up: Up) -> None:
    well = dict.fromkeys(("database", "broker", "workers", "storage", "clock"), "ok")
    wait_for(lambda: doctor(up) == (0, well), "all parts are well")
    broker = up.child("valkey-server")
    broker.suspend()
    try:
        assert doctor(up) == (1, well | {"broker": "failed"})
    finally:
        broker.resume()


def test_a_second_one_on_the_same_home_says_where_the_first_is(up: Up) -> None:
    second = subprocess.run(up_command(up.home), capture_output=True, text=True, timeout=60, check=False)
    assert second.returncode == 1
    assert f"runs already: {up.url} (process {up.pid})" in second.stderr
    assert httpx.get(f"{up.url}/readyz", trust_env=False).status_code == 200


def test_a_port_in_use_is_a_clear_error_and_leaves_nothing_running(up: Up, tmp_path: Path) -> None:
    port = httpx.URL(up.url).port
    assert port is not None
    command = up_command(tmp_path / "other", port)
    second = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert second.returncode == 1
    assert f"port {port} of 127.0.0.1 is in use: stop what uses it, or choose another with --port" in second.stderr
    assert not [p for p in psutil.process_iter(["cmdline"]) if str(tmp_path) in " ".join(p.info["cmdline"] or [])]


@pytest.mark.parametrize("part", ["api", "worker", "valkey-server"])
def test_a_part_that_dies_is_started_again_and_the_user_is_told(up: Up, part: str) -> None:
    before = up.child(part)
    already_told = len(up.told.read_text())
    before.kill()
    wait_for(lambda: not before.is_running(), "the part is dead")
    wait_for(lambda: [p for p in up.tree()[1:] if part in p.cmdline() or part in p.name()], "it is started again")
    wait_for(lambda: _is_ready(up.url), "the service answers again")
    assert "was killed by SIGKILL; starting it again in" in up.told.read_text()[already_told:]


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def test_ctrl_c_ends_every_process_and_the_state_survives(tmp_path: Path) -> None:
    first = Up(tmp_path / "home")
    with Client(first.url) as client:
        job = client.submit(SPEC | {"resources": {"queue": "nobody-listens"}})
    assert first.end(signal.SIGINT) == (0, [])
    assert not (first.home / "ready.json").exists()
    second = Up(tmp_path / "home")
    with Client(second.url) as client:
        assert client.get(job.id).state == "queued"
    assert second.end(signal.SIGTERM) == (0, [])


def test_nothing_outlives_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    code, left = Up(tmp_path / "home").end(signal.SIGKILL)
    assert (code, left) == (-signal.SIGKILL, [])


def test_a_service_that_cannot_start_shows_why_and_leaves_nothing_running(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "cpt.db").write_bytes(b"this is no database" * 100)
    done = subprocess.run(up_command(tmp_path / "home"), capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 1
    assert "migrate ended with exit code 1; the end of its log" in done.stderr
    assert "file is not a database" in done.stderr
    assert not [p for p in psutil.process_iter(["cmdline"]) if str(tmp_path) in " ".join(p.info["cmdline"] or [])]


def test_stopping_while_it_starts_leaves_nothing_running(tmp_path: Path) -> None:
    process = subprocess.Popen(up_command(tmp_path / "home"), stdout=subprocess.DEVNULL)
    wait_for(lambda: psutil.Process(process.pid).children(recursive=True), "the first child is there")
    tree = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 0
    _gone, left = psutil.wait_procs(tree, timeout=10)
    assert left == []


def test_a_home_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    home = tmp_path / "file" / "home"
    done = subprocess.run(up_command(home), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert f"{home} cannot be used" in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
