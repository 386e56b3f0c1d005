"""Metrics as clients read them: pages, samples in which spikes survive, exports."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.metrics.models import BLOCK
from api.metrics.repository import KEYS
from api.metrics.service import buckets
from cpt_core.events import AnyEvent
from cpt_core.protocol import MAX_RECORDS
from tests.api.agent import append
from tests.api.conftest import Claim
from tests.api.factories import ended, spec_document, started, step

LONG = 1500
SPIKE, DIP = 777, 778


def submit(client: TestClient) -> str:
    return client.post("/v1/jobs", json=spec_document(training={"steps": LONG, "batch_size": 32})).json()["id"]


def report(client: TestClient, assignment: dict[str, Any] | None, records: Sequence[AnyEvent], size: int = 700) -> None:
    assert assignment
    assert size <= MAX_RECORDS
    for start in range(0, len(records), size):
        answer = append(client, assignment, start + 1, records[start : start + size])
        assert answer.status_code == 200, answer.text


def loss(index: int) -> float:
    return {SPIKE: 1e6, DIP: -1e6}.get(index, float(index % 97))


def steps(start: int, stop: int, shift: float = 0.0) -> list[AnyEvent]:
    return [step(index).model_copy(update={"loss": loss(index) + shift}) for index in range(start, stop)]


@pytest.fixture
def url(client: TestClient, claim: Claim) -> str:
    """The metrics of a job of 1500 steps, with a spike and a dip, reported in uneven pieces."""
    job = submit(client)
    report(client, claim("a"), [started(steps=LONG), *steps(0, LONG)], size=333)
    return f"/v1/jobs/{job}/metrics"


def series(client: TestClient, url: str, **params: Any) -> list[list[float]]:
    answer = client.get(url, params={"keys": "loss", "max_points": 40, **params})
    assert answer.status_code == 200, answer.text
    found: list[list[float]] = answer.json()["series"]["loss"]
    return found


def test_a_sample_keeps_both_ends_and_every_spike_within_its_size(client: TestClient, url: str) -> None:
    points = series(client, url)
    assert len(points) <= 40
    assert points == sorted(points)
    assert points[0] == [0, loss(0)]
    assert points[-1] == [LONG - 1, loss(LONG - 1)]
    assert [SPIKE, 1e6] in points
    assert [DIP, -1e6] in points
    assert all(value == loss(index) for index, value in points), "points are steps that were, not averages"


@pytest.mark.parametrize(
    ("first", "last", "size"),
    [(0, LONG - 1, 4), (0, LONG - 1, 10), (5, 1490, 6), (600, 900, 300), (600, 900, 8), (BLOCK, 2 * BLOCK - 1, 4)],
)
def test_a_sample_is_what_buckets_of_all_steps_give(
    client: TestClient, url: str, first: int, last: int, size: int
) -> None:
    base, width = buckets(first, last, size)
    by_bucket: dict[int, list[int]] = {}
    for index in range(first, last + 1):
        by_bucket.setdefault((index - base) // width, []).append(index)
    expected = {first, last}
    for members in by_bucket.values():
        expected |= {min(members, key=loss), max(members, key=loss)}
    points = series(client, url, from_step=first, to_step=last, max_points=size)
    assert [index for index, _ in points] == sorted(expected)
    assert len(points) <= size


def test_a_short_range_is_not_thinned_out(client: TestClient, url: str) -> None:
    answer = client.get(url, params={"keys": "loss", "from_step": 100, "to_step": 139, "max_points": 40}).json()
    assert (answer["from_step"], answer["to_step"], answer["bucket_steps"]) == (100, 139, 1)
    assert answer["series"]["loss"] == [[index, loss(index)] for index in range(100, 140)]


def test_all_keys_are_sampled_by_default_and_those_without_values_are_empty(client: TestClient, url: str) -> None:
    found = client.get(url, params={"max_points": 10}).json()["series"]
    assert set(found) == set(KEYS)
    assert found["energy_joules"] == []
    assert found["gbitops"][-1] == [LONG - 1, 10.0 * LONG]


def test_a_job_without_steps_has_an_empty_sample(client: TestClient) -> None:
    answer = client.get(f"/v1/jobs/{submit(client)}/metrics", params={"max_points": 10, "keys": "lr"}).json()
    assert (answer["from_step"], answer["series"]) == (None, {"lr": []})


@pytest.mark.parametrize("resumed", [2 * BLOCK, 2 * BLOCK + 50])
def test_steps_that_a_resumed_attempt_ran_again_are_sampled_as_it_ran_them(
    client: TestClient, claim: Claim, resumed: int
) -> None:
    job = submit(client)
    report(client, claim("a"), [started(steps=LONG), *steps(0, 700), ended("failed", "rank_failed")])
    report(client, claim("b"), [started(resumed, LONG), *steps(resumed, LONG, shift=0.5)])
    url = f"/v1/jobs/{job}/metrics"
    for size in (10, 100, 2000):
        points = series(client, url, max_points=size)
        assert [SPIKE, 1e6 + 0.5] in points
        assert all(value == loss(index) + (0.5 if index >= resumed else 0.0) for index, value in points)
        assert len({index for index, _ in points}) == len(points)
    assert len(series(client, url, max_points=2000)) == LONG


def test_pages_hold_the_asked_keys_and_steps(client: TestClient, url: str) -> None:
    page = client.get(url, params={"keys": ["lr", "loss,lr"], "from_step": 10, "to_step": 12}).json()
    assert [row["step"] for row in page["data"]] == [10, 11, 12]
    assert set(page["data"][0]) == {"id", "attempt", "type", "time", "step", "lr", "loss"}
    assert (page["object"], page["has_more"]) == ("list", False)


def test_an_unknown_key_is_named_beside_the_known(client: TestClient, url: str) -> None:
    answer = client.get(url, params={"keys": "loss,sharpness"})
    assert answer.status_code == 422
    (fault,) = answer.json()["errors"]
    assert (fault["parameter"], fault["code"]) == ("keys", "unknown_key")
    assert "sharpness" in fault["message"]
    assert all(key in fault["message"] for key in KEYS)


def test_a_range_that_ends_before_it_begins_is_refused(client: TestClient, url: str) -> None:
    answer = client.get(url, params={"from_step": 5, "to_step": 4})
    assert (answer.status_code, answer.json()["errors"][0]["parameter"]) == (422, "to_step")


def test_all_steps_are_exported_as_csv(client: TestClient, url: str) -> None:
    answer = client.get(url, params={"keys": "loss,energy_joules"}, headers={"Accept": "text/csv"})
    assert answer.headers["Content-Type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [(int(row["step"]), float(row["loss"])) for row in rows] == [(index, loss(index)) for index in range(LONG)]
    assert list(rows[0]) == ["id", "attempt", "time", "step", "loss", "energy_joules"]
    assert rows[0]["energy_joules"] == ""


def test_ndjson_has_the_rows_of_the_pages(client: TestClient, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.metrics.service.EXPORT_PAGE", 400)  # so that it takes several
    answer = client.get(url, headers={"Accept": "application/x-ndjson"})
    assert answer.headers["Content-Type"] == "application/x-ndjson"
    rows = [json.loads(line) for line in answer.text.splitlines()]
    assert rows == client.get(url, params={"limit": 5000}).json()["data"]
    some = client.get(url, params={"after": rows[9]["id"], "limit": 500}, headers={"Accept": "application/x-ndjson"})
    assert [json.loads(line) for line in some.text.splitlines()] == rows[10:510]


def test_samples_are_exported_a_point_a_line(client: TestClient, url: str) -> None:
    points = series(client, url)
    params = {"keys": "loss", "max_points": 40}
    table = client.get(url, params=params, headers={"Accept": "text/csv"}).text
    rows = list(csv.DictReader(io.StringIO(table)))
    assert [[int(row["step"]), float(row["value"])] for row in rows] == points
    lines = client.get(url, params=params, headers={"Accept": "application/x-ndjson"}).text.splitlines()
    assert [json.loads(line) for line in lines] == [{"key": "loss", "step": s, "value": v} for s, v in points]


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("*/*", "application/json"),
        ("text/*, application/json;q=0.5", "text/csv"),
        ("application/xml, application/*;q=0.1", "application/json"),
        ("application/json;q=0, */*", "text/csv"),
    ],
)
def test_the_form_is_the_one_that_the_client_likes_best(
    client: TestClient, url: str, accept: str, expected: str
) -> None:
    answer = client.get(url, params={"limit": 1}, headers={"Accept": accept})
    assert answer.headers["Content-Type"].split(";")[0] == expected


def test_another_form_is_not_acceptable(client: TestClient, url: str) -> None:
    answer = client.get(url, headers={"Accept": "application/xml"})
    assert (answer.status_code, answer.json()["code"]) == (406, "not_acceptable")
    assert "text/csv" in answer.json()["detail"]


def test_an_export_of_no_job_is_a_problem(client: TestClient) -> None:
    answer = client.get(f"/v1/jobs/job_{'0' * 24}/metrics", headers={"Accept": "text/csv"})
    assert (answer.status_code, answer.json()["code"]) == (404, "job_not_found")
