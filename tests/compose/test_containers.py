"""The compose file for real: containers die, restart and multiply, and nothing is lost."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.compose.conftest import ROOT, Containers, compose
from tests.e2e.stack import until

pytestmark = pytest.mark.timeout(3600)

STEPS = 120
MEGABYTE = 1_000_000


def test_nothing_is_lost_when_containers_die(containers: Containers) -> None:
    job_id = containers.submit(STEPS)
    containers.wait(job_id, step=25)
    (worker,) = containers.ids("worker")
    containers.docker("kill", "--signal", "KILL", worker)
    containers.run("restart", "--timeout", "10", "postgres", "redis")
    containers.up(workers=3)
    until(lambda: _workers_there(containers) == 3, "three workers to be there", 180)
    job = containers.wait(job_id, state="succeeded")
    assert job["attempt"] >= 2, "the killed worker's attempt was another"
    rows = containers.http.get(f"/v1/jobs/{job_id}/metrics", params={"limit": 5000}).raise_for_status().json()["data"]
    assert [row["step"] for row in rows] == list(range(STEPS)), "each step once"
    started = containers.http.get(f"/v1/jobs/{job_id}/events", params={"limit": 5000}).json()["data"]
    resumed = [event["resume_step"] for event in started if event["type"] == "started"]
    assert resumed[-1] >= 20, "from the last checkpoint, in the shared volume"


def _workers_there(containers: Containers) -> int:
    try:
        return sum(worker["online"] for worker in containers.http.get("/v1/workers").json()["data"])
    except (KeyError, ValueError):  # the database is being restarted
        return 0


def test_a_stopped_worker_hands_its_job_back_within_the_grace_period(containers: Containers) -> None:
    containers.up(workers=1)
    job_id = containers.submit(5000)
    containers.wait(job_id, step=5)
    (worker,) = containers.ids("worker")
    containers.run("stop", "worker")
    state = json.loads(containers.docker("inspect", worker))[0]["State"]
    assert state["ExitCode"] == 0, "it was not killed"
    job = containers.job(job_id)
    assert (job["state"], job["reason"]) == ("queued", "preempted")
    containers.http.post(f"/v1/jobs/{job_id}/cancel").raise_for_status()
    containers.up(workers=1)


@pytest.mark.parametrize("service", ["api", "worker"])
def test_containers_are_nobody_special_and_cannot_write_their_own_files(containers: Containers, service: str) -> None:
    container = containers.ids(service)[0]
    assert containers.docker("exec", container, "id", "-u").strip() == "10001"
    refused = subprocess.run(["docker", "exec", container, "touch", "/opt/cpt/x"], capture_output=True, check=False)
    assert b"Read-only file system" in refused.stderr
    until(lambda: _health(containers, container) == "healthy", f"{service} to be healthy", 60)


def _health(containers: Containers, container: str) -> str:
    return str(json.loads(containers.docker("inspect", container))[0]["State"]["Health"]["Status"])


def test_a_worker_has_no_way_to_the_database(containers: Containers) -> None:
    ask = "import socket; socket.create_connection(('postgres', 5432), 5)"
    asked = subprocess.run(
        ["docker", "exec", containers.ids("worker")[0], "python", "-c", ask], capture_output=True, check=False
    )
    assert b"Name or service not known" in asked.stderr or b"failure in name resolution" in asked.stderr


def test_the_worker_image_has_the_compiled_passes_and_no_compiler(containers: Containers) -> None:
    ask = "from cpt_core.quant import native; import shutil; print(native.available(), shutil.which('c++'))"
    answer = containers.docker("exec", containers.ids("worker")[0], "python", "-c", ask)
    assert answer.split() == ["True", "None"]


def test_the_api_image_is_small_and_has_no_torch(containers: Containers) -> None:
    image = json.loads(containers.docker("image", "inspect", "cpt-service-api"))[0]
    assert image["Size"] < 300 * MEGABYTE
    assert image["Config"]["Labels"]["org.opencontainers.image.title"] == "cpt-service-api"
    found = subprocess.run(
        ["docker", "exec", containers.ids("api")[0], "python", "-c", "import torch"], capture_output=True, check=False
    )
    assert b"No module named 'torch'" in found.stderr


def test_prometheus_reads_the_api_with_its_token_alone(containers: Containers) -> None:
    token = {"Authorization": f"Bearer {containers.env['CPT_METRICS_TOKEN']}"}
    assert "cpt_jobs" in containers.http.get("/metrics", headers=token).text
    assert containers.http.get("/metrics", headers={"Authorization": "Bearer x"}).status_code == 401


def test_without_secrets_nothing_starts(containers: Containers) -> None:
    bare = {name: value for name, value in containers.env.items() if name != "CPT_AGENT_TOKEN"}
    done = subprocess.run([*compose(), "config"], env=bare, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "set it in .env" in done.stderr
