"""What clients see: submitting, listing, cancelling, reading logs and metrics."""

from __future__ import annotations

import json

import pytest
from fastapi.testclient import TestClient

from tests.api.agent import append
from tests.api.conftest import Claim
from tests.api.factories import STEPS, ended, run_to_the_end, spec_document, started, step


def submit(client: TestClient, key: str | None = None, **changes: object) -> dict:  # type: ignore[type-arg]
    answer = client.post("/v1/jobs", json=spec_document(**changes), headers={"Idempotency-Key": key} if key else {})
    assert answer.status_code == 201, answer.text
    return answer.json()


def test_an_accepted_job_is_queued_with_its_defaults_filled_in(client: TestClient) -> None:
    answer = client.post("/v1/jobs", json=spec_document(name="first"))
    job = answer.json()
    assert answer.headers["Location"] == f"/v1/jobs/{job['id']}"
    assert (job["object"], job["state"], job["name"], job["attempt"]) == ("job", "queued", "first", 0)
    assert job["spec"]["precision"]["gradient_bits"] == 8
    assert job["progress"] == {"step": 0, "steps": STEPS, "epoch": 0, "fraction": 0.0, "eta_seconds": None}
    assert job["created_at"].endswith("Z")
    assert client.get(f"/v1/jobs/{job['id']}").json() == job


def test_an_idempotency_key_makes_one_job_of_many_requests(client: TestClient) -> None:
    first = submit(client, "key-1")
    again = client.post("/v1/jobs", json=spec_document(), headers={"Idempotency-Key": "key-1"})
    assert again.json()["id"] == first["id"]
    assert again.headers["Idempotent-Replayed"] == "true"
    assert submit(client, "key-2")["id"] != first["id"]
    other = client.post("/v1/jobs", json=spec_document(name="other"), headers={"Idempotency-Key": "key-1"})
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


def test_lists_are_newest_first_and_paged_by_cursor(client: TestClient) -> None:
    ids = [submit(client, name=f"job {number}")["id"] for number in range(5)]
    seen, cursor = [], None
    while True:
        page = client.get("/v1/jobs", params={"limit": 2} | ({"cursor": cursor} if cursor else {})).json()
        seen += [job["id"] for job in page["data"]]
        cursor = page["next_cursor"]
        if not page["has_more"]:
            break
        submit(client)  # a newer job must not shift the pages
    assert seen == ids[::-1]


def test_lists_can_be_narrowed_by_state_and_queue(client: TestClient) -> None:
    plain, other = submit(client), submit(client, resources={"queue": "other"})
    client.post(f"/v1/jobs/{plain['id']}/cancel")
    cancelled = client.get("/v1/jobs", params={"state": "cancelled"}).json()["data"]
    assert [job["id"] for job in cancelled] == [plain["id"]]
    assert [job["id"] for job in client.get("/v1/jobs", params={"queue": "other"}).json()["data"]] == [other["id"]]


def test_a_queued_job_is_cancelled_at_once(client: TestClient, claim: Claim) -> None:
    job = submit(client)
    end = client.post(f"/v1/jobs/{job['id']}/cancel").json()
    assert (end["state"], end["reason"]) == ("cancelled", "user")
    assert end["finished_at"] is not None
    assert claim("a") is None


def test_a_job_that_has_ended_otherwise_cannot_be_cancelled(client: TestClient, claim: Claim) -> None:
    submit(client)
    assignment = claim("a")
    assert assignment
    append(client, assignment, 1, run_to_the_end())
    refused = client.post(f"/v1/jobs/{assignment['job_id']}/cancel")
    assert (refused.status_code, refused.json()["code"]) == (409, "illegal_state")
    assert "already succeeded" in refused.json()["detail"]


def test_unknown_jobs_are_404_everywhere(client: TestClient) -> None:
    unknown = "/v1/jobs/job_" + "0" * 24
    answers = [
        client.get(unknown),
        client.post(unknown + "/cancel"),
        *(client.get(unknown + tail) for tail in ("/events", "/metrics", "/stream")),
    ]
    for answer in answers:
        assert (answer.status_code, answer.json()["code"]) == (404, "job_not_found")
        assert answer.headers["Content-Type"] == "application/problem+json"


def test_metrics_and_events_are_paged_by_position(client: TestClient, claim: Claim) -> None:
    job = submit(client)
    assignment = claim("a")
    assert assignment
    append(client, assignment, 1, run_to_the_end())
    rows, after = [], 0
    while True:
        page = client.get(f"/v1/jobs/{job['id']}/metrics", params={"after": after, "limit": 7}).json()
        rows += page["data"]
        after = int(page["next_cursor"])
        if not page["has_more"]:
            break
    assert [row["step"] for row in rows] == list(range(STEPS))
    assert rows[3]["loss"] == step(3).loss
    events = client.get(f"/v1/jobs/{job['id']}/events").json()["data"]
    assert [event.get("state", event["type"]) for event in events] == [
        "queued",
        "starting",
        "started",
        "running",
        "checkpoint",
        "finished",
        "succeeded",
    ]


def test_the_stream_holds_every_row_in_order_and_can_be_resumed_anywhere(client: TestClient, claim: Claim) -> None:
    job = submit(client)
    assignment = claim("a")
    assert assignment
    append(client, assignment, 1, run_to_the_end())
    url = f"/v1/jobs/{job['id']}/stream"
    whole = _sse(client.get(url).text)
    assert [event["id"] for event in whole[:-1]] == [str(number + 1) for number in range(len(whole) - 1)]
    assert whole[-1] == {"event": "end", "data": {"state": "succeeded"}}
    assert _sse(client.get(url, headers={"Last-Event-ID": "9"}).text) == whole[9:]
    assert _sse(client.get(url, params={"after": 9}).text) == whole[9:]
    steps = [event["data"] for event in whole if event["event"] == "step"]
    assert steps == client.get(f"/v1/jobs/{job['id']}/metrics", params={"limit": 5000}).json()["data"]


def test_a_superseded_step_is_in_the_log_but_counts_once(client: TestClient, claim: Claim) -> None:
    job = submit(client)
    first = claim("a")
    assert first
    append(client, first, 1, [started(), step(0), step(1), ended("failed", "rank_failed")])
    second = claim("b")
    assert second
    append(client, second, 1, run_to_the_end())
    events = _sse(client.get(f"/v1/jobs/{job['id']}/stream").text)
    assert sum(event["event"] == "step" for event in events) == STEPS + 2
    rows = client.get(f"/v1/jobs/{job['id']}/metrics", params={"limit": 5000}).json()["data"]
    assert [(row["attempt"], row["step"]) for row in rows] == [(2, index) for index in range(STEPS)]


@pytest.mark.parametrize("cursor", ["-1", "x", "1e3", "99999999999999999999", "9" * 5000, "\u0663"])
def test_a_bad_stream_position_is_refused_before_the_stream_starts(client: TestClient, cursor: str) -> None:
    job = submit(client)
    answer = client.get(f"/v1/jobs/{job['id']}/stream", headers={"Last-Event-ID": cursor.encode()})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["parameter"] == "Last-Event-ID"


def test_health_and_readiness(client: TestClient) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {"status": "ok"}


def test_the_openapi_document_lists_every_endpoint(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    assert {
        "/v1/jobs",
        "/v1/jobs:validate",
        "/v1/jobs/{job_id}",
        "/v1/jobs/{job_id}/cancel",
        "/v1/jobs/{job_id}/events",
        "/v1/jobs/{job_id}/metrics",
        "/v1/jobs/{job_id}/stream",
        "/healthz",
        "/readyz",
    } <= set(paths)
    assert "application/problem+json" in json.dumps(paths["/v1/jobs"]["post"]["responses"]["422"])


def _sse(text: str) -> list[dict]:  # type: ignore[type-arg]
    events = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if line and not line.startswith(":"))
        if fields:
            events.append(fields | {"data": json.loads(fields["data"])})
    return events
