"""What Prometheus reads of the API and of a worker, and the dashboard that draws it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr

from tests.api.agent import append
from tests.api.conftest import Claim
from tests.api.factories import spec_document, started, step
from tests.api.test_protocol import expire
from worker.spool import Spool
from worker.telemetry import Telemetry

TOKEN = "a-token-for-prometheus"
DASHBOARD = Path(__file__).parents[2] / "deploy/grafana/cpt-service.json"


@pytest.fixture
def settings() -> dict[str, Any]:
    return {"metrics_token": SecretStr(TOKEN)}


def samples(text: str) -> dict[tuple[str, str], float]:
    """Values by name and the first label's value."""
    families = text_string_to_metric_families(text)
    return {
        (sample.name, next(iter(sample.labels.values()), "")): sample.value
        for family in families
        for sample in family.samples
    }


def scrape(client: TestClient) -> dict[tuple[str, str], float]:
    answer = client.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 200, answer.text
    return samples(answer.text)


def test_jobs_queues_and_lost_attempts_are_counted_from_the_jobs_own_rows(client: TestClient, claim: Claim) -> None:
    job = client.post("/v1/jobs", json=spec_document()).json()
    client.post("/v1/jobs", json=spec_document(resources={"queue": "gpu"}))
    seen = scrape(client)
    assert (seen["cpt_jobs", "queued"], seen["cpt_jobs", "running"]) == (2, 0)
    assert (seen["cpt_queue_depth", "default"], seen["cpt_queue_depth", "gpu"]) == (1, 1)
    assert 0 <= seen["cpt_queue_age_seconds", "gpu"] < 60
    assert claim("a")
    expire(client, job)
    assert scrape(client)["cpt_attempts_lost_total", ""] == 1


def test_appends_are_timed_and_what_runs_is_summed(client: TestClient, claim: Claim) -> None:
    client.post("/v1/jobs", json=spec_document())
    assignment = claim("a")
    assert assignment
    append(client, assignment, 1, [started(), step(0), step(1)])
    seen = scrape(client)
    assert seen["cpt_append_seconds_count", ""] == 1
    assert seen["cpt_running_samples_per_second", ""] == 1000.0
    assert seen["cpt_running_modelled_joules", ""] == 1.0


def test_only_who_knows_the_token_reads_the_metrics(client: TestClient) -> None:
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {TOKEN}"}):
        answer = client.get("/metrics", headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (401, "invalid_token")


def test_without_a_token_only_this_machine_reads_the_metrics(client: TestClient) -> None:
    app = client.app
    app.state.services.settings.metrics_token = None  # type: ignore[attr-defined]
    near, far = (
        TestClient(app, base_url="http://127.0.0.1", client=(address, 5)) for address in ("127.0.0.1", "10.0.0.7")
    )
    assert near.get("/metrics").status_code == 200
    assert far.get("/metrics").json()["code"] == "metrics_forbidden"


def test_a_worker_counts_steps_and_energy_and_what_waits_in_its_spools(tmp_path: Path) -> None:
    telemetry, spool = Telemetry(), Spool(tmp_path / "spool", limit_bytes=1000)
    telemetry.began(spool)
    spool.put(b"12345")
    telemetry.saw(step(0).model_copy(update={"step_energy_joules": 2.0, "step_modelled_joules": 0.5}))
    telemetry.saw(step(1))
    seen = samples(generate_latest(telemetry.registry).decode())
    assert seen["cpt_worker_spool_records", ""] == 1
    assert seen["cpt_worker_spool_bytes", ""] == 6
    assert seen["cpt_worker_steps_total", ""] == 2
    assert seen["cpt_worker_energy_joules_total", ""] == 2.0
    telemetry.ended(spool)
    spool.close()
    assert samples(generate_latest(telemetry.registry).decode())["cpt_worker_attempts", ""] == 0


def test_the_dashboard_asks_only_for_metrics_that_there_are(client: TestClient) -> None:
    client.post("/v1/jobs", json=spec_document())
    known = {name for name, _ in scrape(client)}
    known |= {name for name, _ in samples(generate_latest(Telemetry().registry).decode())}
    expressions = [
        target["expr"] for panel in json.loads(DASHBOARD.read_text())["panels"] for target in panel["targets"]
    ]
    asked = {name for expression in expressions for name in re.findall(r"\bcpt_\w+", expression)}
    assert len(asked) > 10
    assert asked <= known
