"""What a key and a project may use, and what is said when it is used up."""

from __future__ import annotations

import threading

import pytest

from api.rate import Buckets
from tests.api.conftest import AGENT_TOKEN, Keyed
from tests.api.factories import spec_document


def test_a_key_over_its_rate_is_told_when_to_come_back(keyed: Keyed) -> None:
    headers = keyed.key("read", requests_per_minute=2)
    first, second, third = (keyed.client.get("/v1/jobs", headers=headers) for _ in range(3))
    assert (first.status_code, second.status_code) == (200, 200)
    assert first.headers["RateLimit-Policy"] == '"key";q=2;w=60'
    assert first.headers["RateLimit"].startswith('"key";r=1;')
    assert (third.status_code, third.json()["code"]) == (429, "rate_limited")
    assert 1 <= int(third.headers["Retry-After"]) <= 30
    assert third.headers["RateLimit"].startswith('"key";r=0;')


def test_all_keys_of_a_project_share_its_rate(keyed: Keyed) -> None:
    keyed.project("busy", requests_per_minute=2)
    keyed.project("calm")
    statuses = [keyed.client.get("/v1/jobs", headers=keyed.key("read", "busy")).status_code for _ in range(3)]
    assert statuses == [200, 200, 429]
    assert keyed.client.get("/v1/jobs", headers=keyed.key("read", "calm")).status_code == 200


def test_a_changed_rate_holds_at_once(keyed: Keyed) -> None:
    keyed.project("busy")
    headers, operator = keyed.key("read", "busy"), keyed.key("operator")
    assert keyed.client.get("/v1/jobs", headers=headers).status_code == 200
    keyed.client.patch("/v1/projects/busy", json={"limits": {"requests_per_minute": 1}}, headers=operator)
    assert [keyed.client.get("/v1/jobs", headers=headers).status_code for _ in range(2)] == [200, 429]


def test_a_bucket_fills_evenly_up_to_a_minutes_worth() -> None:
    clock = [0.0]
    buckets = Buckets(lambda: clock[0])

    def taken() -> int:
        count = 0
        while not buckets.take("key", "k", 60).wait:
            count += 1
        return count

    assert taken() == 60
    assert buckets.take("key", "k", 60).wait == pytest.approx(1.0)
    clock[0] = 10.0
    assert taken() == 10
    clock[0] = 1000.0
    assert taken() == 60


def test_a_refused_request_uses_up_nothing() -> None:
    clock = [0.0]
    buckets = Buckets(lambda: clock[0])
    assert not buckets.take("key", "k", 1).wait
    for _ in range(10):
        assert buckets.take("key", "k", 1).wait
    clock[0] = 60.0
    assert not buckets.take("key", "k", 1).wait


def test_a_project_has_no_more_open_jobs_than_it_may(keyed: Keyed) -> None:
    keyed.project("small", max_open_jobs=2)
    headers = keyed.key("submit", "small")
    first, _, third = (keyed.client.post("/v1/jobs", json=spec_document(), headers=headers) for _ in range(3))
    assert (third.status_code, third.json()["code"]) == (409, "open_jobs_limit")
    keyed.client.post(f"/v1/jobs/{first.json()['id']}/cancel", headers=headers)
    assert keyed.client.post("/v1/jobs", json=spec_document(), headers=headers).status_code == 201


def test_a_repeated_submission_is_answered_even_at_the_limit(keyed: Keyed) -> None:
    keyed.project("small", max_open_jobs=1)
    headers = keyed.key("submit", "small") | {"Idempotency-Key": "once"}
    first, again = (keyed.client.post("/v1/jobs", json=spec_document(), headers=headers) for _ in range(2))
    assert (again.status_code, again.json()["id"]) == (201, first.json()["id"])


def test_submissions_at_the_same_moment_do_not_share_the_last_room(keyed: Keyed) -> None:
    keyed.project("small", max_open_jobs=3)
    headers = keyed.key("submit", "small")
    start = threading.Barrier(8)
    statuses: list[int] = []

    def submit() -> None:
        start.wait()
        statuses.append(keyed.client.post("/v1/jobs", json=spec_document(), headers=headers).status_code)

    threads = [threading.Thread(target=submit) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [201] * 3 + [409] * 5


def test_a_job_larger_than_the_projects_jobs_may_be_is_refused_by_field(keyed: Keyed) -> None:
    keyed.project("small", max_steps=10, max_running_devices=1)
    body = spec_document(resources={"devices": 2})
    answer = keyed.client.post("/v1/jobs", json=body, headers=keyed.key("submit", "small"))
    assert answer.status_code == 422
    assert [(error["pointer"], error["code"]) for error in answer.json()["errors"]] == [
        ("/training/steps", "project_limit"),
        ("/resources/devices", "project_limit"),
    ]


def test_the_worker_is_told_how_large_the_model_may_be(keyed: Keyed) -> None:
    keyed.project("small", max_parameters=1_000_000, max_macs=20_000_000)
    keyed.client.post("/v1/jobs", json=spec_document(), headers=keyed.key("submit", "small"))
    body = {"claim_id": "a" * 32, "worker": "w1", "queue": "default", "device": "cpu", "devices": 1}
    answer = keyed.client.post("/v1/agent/claim", json=body, headers={"Authorization": f"Bearer {AGENT_TOKEN}"})
    assert answer.json()["model_limits"] == {"max_parameters": 1_000_000, "max_macs": 20_000_000}
