"""Queues and workers as clients see them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import update

from api.fleet.models import Worker
from cpt_core.events import now
from tests.api.conftest import AGENT_TOKEN, Claim
from tests.api.factories import spec_document

Report = Callable[..., None]


@pytest.fixture
def report(client: TestClient) -> Report:
    """A worker reports itself."""

    def do(**changes: Any) -> None:
        said = {"worker": "w1", "version": "1", "queues": ["default"], "device": "cpu", "slots": 2, "devices": 4}
        answer = client.post(
            "/v1/agent/workers", json=said | changes, headers={"Authorization": f"Bearer {AGENT_TOKEN}"}
        )
        assert answer.status_code == 204, answer.text

    return do


def submit(client: TestClient, **resources: Any) -> str:
    return client.post("/v1/jobs", json=spec_document(resources=resources)).json()["id"]


def listed(client: TestClient, what: str) -> list[dict[str, Any]]:
    page = client.get(f"/v1/{what}").json()
    assert (page["has_more"], page["next_cursor"]) == (False, None)
    return page["data"]


def last_seen(client: TestClient, name: str, ago: timedelta) -> None:
    with client.app.state.services.database.write() as session:  # type: ignore[attr-defined]
        session.execute(update(Worker).where(Worker.name == name).values(seen_at=now() - ago))


def test_a_queue_tells_what_waits_in_it_and_who_listens(client: TestClient, claim: Claim, report: Report) -> None:
    first, _, paused = submit(client), submit(client), submit(client)
    submit(client, queue="other")
    client.post(f"/v1/jobs/{paused}/pause")
    assert claim()
    report(queues=["default", "idle"])
    default, idle, other = listed(client, "queues")
    assert [default[key] for key in ("name", "queued", "running", "paused", "workers")] == ["default", 1, 1, 1, 1]
    assert default["oldest_queued_at"] > client.get(f"/v1/jobs/{first}").json()["created_at"]
    assert [idle[key] for key in ("name", "queued", "oldest_queued_at", "workers")] == ["idle", 0, None, 1]
    assert [other[key] for key in ("name", "queued", "workers")] == ["other", 1, 0]


def test_a_worker_is_shown_as_it_reports_itself_with_the_jobs_it_holds(
    client: TestClient, claim: Claim, report: Report
) -> None:
    job = submit(client)
    report(queues=["fast", "default"], labels=["eu", "a100"])
    assert claim(worker="w1")
    (worker,) = listed(client, "workers")
    assert worker.pop("seen_at").endswith("Z")
    assert worker == {
        "object": "worker",
        "name": "w1",
        "online": True,
        "version": "1",
        "device": "cpu",
        "slots": 2,
        "devices": 4,
        "busy": 1,
        "queues": ["fast", "default"],
        "labels": ["a100", "eu"],
        "jobs": [job],
    }


def test_a_silent_worker_is_offline_and_forgotten_after_an_hour_and_one_that_leaves_at_once(
    client: TestClient, report: Report
) -> None:
    for name in ("w1", "w2", "w3"):
        report(worker=name)
    last_seen(client, "w1", timedelta(minutes=1))
    last_seen(client, "w2", timedelta(hours=2))
    report(worker="w4", leaving=True)
    report(worker="w3", leaving=True)
    assert [(worker["name"], worker["online"]) for worker in listed(client, "workers")] == [("w1", False)]
    assert listed(client, "queues") == []


def test_only_workers_may_report(client: TestClient) -> None:
    assert client.post("/v1/agent/workers", json={}, headers={"Authorization": "Bearer x"}).status_code == 401
