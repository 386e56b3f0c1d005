"""The compose file for real: containers die, restart and multiply, and nothing is lost."""

from __future__ import annotations

import json
import subprocess
from typing import Any
from urllib.parse import urlencode

import pytest
import yaml

from tests.compose.conftest import ROOT, SECRETS, Containers, compose
from tests.deploy.test_manifests import compose_file
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
    assert containers.inspect(worker)["State"]["ExitCode"] == 0, "it was not killed"
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
    return str(containers.inspect(container)["State"]["Health"]["Status"])


@pytest.mark.parametrize(("service", "user"), [("postgres", "postgres"), ("redis", "redis")])
def test_servers_become_their_own_user_on_a_file_system_that_they_cannot_write(
    containers: Containers, service: str, user: str
) -> None:
    (container,) = containers.ids(service)
    assert containers.docker("exec", container, "stat", "-c", "%U", "/proc/1").strip() == user
    assert containers.inspect(container)["HostConfig"]["ReadonlyRootfs"]


def test_the_broker_asks_for_its_password(containers: Containers) -> None:
    (redis,) = containers.ids("redis")
    assert "NOAUTH" in containers.docker("exec", redis, "redis-cli", "keys", "*")
    asked = containers.docker("exec", redis, "redis-cli", "--user", "health", "--pass", "x", "keys", "*")
    assert "NOPERM" in asked, "who watches its health may ping alone"


def test_a_worker_has_no_way_to_the_database(containers: Containers) -> None:
    ask = "import socket; socket.create_connection(('postgres', 5432), 5)"
    asked = subprocess.run(
        ["docker", "exec", containers.ids("worker")[0], "python", "-c", ask], capture_output=True, check=False
    )
    assert b"Name or service not known" in asked.stderr or b"failure in name resolution" in asked.stderr


def test_the_worker_image_has_the_compiled_passes(containers: Containers) -> None:
    ask = "from cpt_core.quant import native; print(native.available())"
    assert containers.docker("exec", containers.ids("worker")[0], "python", "-c", ask).strip() == "True"


@pytest.mark.parametrize("role", ["api", "worker"])
def test_images_say_what_they_are_and_carry_no_build_tools(containers: Containers, role: str) -> None:
    config = containers.inspect(f"cpt-service-{role}")["Config"]
    labels = {name.removeprefix("org.opencontainers.image."): value for name, value in config["Labels"].items()}
    assert (labels["title"], labels["licenses"]) == (f"cpt-service-{role}", "Apache-2.0")
    ask = "import importlib.metadata; print(importlib.metadata.version('cpt-service'))"
    inside = containers.ids(role)[0]
    assert containers.docker("exec", inside, "python", "-c", ask).strip() == labels["version"]
    assert config["Healthcheck"]["Test"][0] == "CMD"
    tools = "import shutil; print([tool for tool in 'c++ cc g++ gcc ld make strip'.split() if shutil.which(tool)])"
    assert containers.docker("exec", inside, "python", "-c", tools).strip() == "[]"


def test_the_api_image_is_small_and_has_no_torch(containers: Containers) -> None:
    assert containers.inspect("cpt-service-api")["Size"] < 300 * MEGABYTE
    found = subprocess.run(
        ["docker", "exec", containers.ids("api")[0], "python", "-c", "import torch"], capture_output=True, check=False
    )
    assert b"No module named 'torch'" in found.stderr


def test_the_api_image_has_what_is_seldom_used(containers: Containers) -> None:
    """docker/trim.py took nothing of it away."""
    for path in ("/", "/dashboard/plotly.min.js", "/openapi.json", "/v1/recipes"):
        assert containers.http.get(path).status_code == 200, path
    ask = (
        "import botocore.session, opentelemetry.exporter.otlp.proto.http.trace_exporter, s3fs;"
        "print(botocore.session.get_session().create_client('s3', 'eu-west-1').meta.endpoint_url)"
    )
    found = containers.docker("exec", containers.ids("api")[0], "python", "-c", ask)
    assert found.strip() == "https://s3.eu-west-1.amazonaws.com"


def test_prometheus_reads_the_api_with_its_token_alone(containers: Containers) -> None:
    token = {"Authorization": f"Bearer {containers.env['CPT_METRICS_TOKEN']}"}
    assert "cpt_jobs" in containers.http.get("/metrics", headers=token).text
    assert containers.http.get("/metrics", headers={"Authorization": "Bearer x"}).status_code == 401


def test_the_profile_monitoring_has_a_prometheus_that_reads_api_and_workers(containers: Containers) -> None:
    image = compose_file()["services"]["prometheus"]["image"]
    if subprocess.run(["docker", "image", "inspect", image], capture_output=True, check=False).returncode:
        pytest.skip(f"{image} is not here: docker pull {image}")
    containers.run("--profile", "monitoring", "up", "-d", "--no-build", "prometheus")
    (container,) = containers.ids("prometheus")

    def ask(what: str) -> Any:
        url = f"http://127.0.0.1:9090/api/v1/{what}"
        return json.loads(containers.docker("exec", container, "wget", "-q", "-O", "-", url))["data"]

    def read() -> bool:
        return {target["labels"]["job"] for target in ask("targets")["activeTargets"] if target["health"] == "up"} == {
            "cpt-api",
            "cpt-worker",
        }

    until(lambda: _health(containers, container) == "healthy", "prometheus to be healthy", 60)
    until(read, "prometheus to have read an API and a worker", 90)
    panels = json.loads((ROOT / "deploy/grafana/cpt-service.json").read_text())["panels"]
    scaling = yaml.safe_load((ROOT / "deploy/kubernetes/keda/scaled-objects.yaml").read_text())["spec"]["triggers"]
    queries = [target["expr"] for panel in panels for target in panel["targets"]]
    for query in (*queries, *(trigger["metadata"]["query"] for trigger in scaling)):
        ask(f"query?{urlencode({'query': query})}")  # refuses what is no query
    (number,) = ask(f"query?{urlencode({'query': scaling[0]['metadata']['query']})}")["result"]
    assert number["value"][1] == "0", "workers to have, while nothing waits or runs"


@pytest.mark.parametrize("name", ["CPT_DATABASE_PASSWORD", "CPT_BROKER_PASSWORD", "CPT_AGENT_TOKEN"])
def test_without_a_secret_nothing_starts(containers: Containers, name: str) -> None:
    bare = containers.env | {name: ""}
    done = subprocess.run([*compose(), "config"], env=bare, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "set it in .env" in done.stderr


@pytest.mark.parametrize("name", ["CPT_DATABASE_PASSWORD", "CPT_BROKER_PASSWORD", "CPT_AGENT_TOKEN"])
def test_a_default_secret_is_refused(containers: Containers, name: str) -> None:
    command = [*compose(), "run", "--rm", "-T", "--no-deps", "-e", f"{name}=changeme", "api"]
    done = subprocess.run(command, env=containers.env, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert name.rpartition("_")[0] in done.stderr


def test_secrets_may_be_in_files(containers_with_files: Containers) -> None:
    containers = containers_with_files
    containers.wait(containers.submit(4), state="succeeded")
    for service in ("postgres", "redis", "api", "worker"):
        (container,) = containers.ids(service)
        variables = dict(each.split("=", 1) for each in containers.inspect(container)["Config"]["Env"])
        assert {variables.get(name, "file") for name in SECRETS} == {"file"}, service
