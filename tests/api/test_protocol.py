"""Claim and append over HTTP, on SQLite and PostgreSQL: each record once, in order, from the holder alone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.agent import service
from api.db import Database
from cpt_core.events import EnergySource
from tests.api.agent import append
from tests.api.conftest import Claim
from tests.api.factories import STEPS, checkpoint, ended, run_to_the_end, spec_document, started, step


@pytest.fixture
def job(client: TestClient) -> dict[str, Any]:
    answer = client.post("/v1/jobs", json=spec_document())
    assert answer.status_code == 201, answer.text
    return answer.json()


def get(client: TestClient, job: dict[str, Any]) -> dict[str, Any]:
    return client.get(f"/v1/jobs/{job['id']}").json()


def steps_of(client: TestClient, job: dict[str, Any]) -> list[tuple[int, int]]:
    page = client.get(f"/v1/jobs/{job['id']}/metrics", params={"limit": 5000}).json()
    return [(row["attempt"], row["step"]) for row in page["data"]]


def expire(client: TestClient, job: dict[str, Any]) -> None:
    database: Database = client.app.state.services.database  # type: ignore[attr-defined]
    (pulse,) = [pulse for pulse in service.pulses(database) if pulse.job_id == job["id"]]
    assert service.expire(database, pulse)


def test_a_job_runs_from_claim_to_success(client: TestClient, claim: Claim, job: dict[str, Any]) -> None:
    assignment = claim("a")
    assert assignment is not None
    assert assignment["job_id"] == job["id"]
    assert assignment["spec"] == job["spec"]
    assert get(client, job)["state"] == "starting"
    records = run_to_the_end()
    assert append(client, assignment, 1, records[:5]).json() == {"acked": 5, "command": "continue"}
    running = get(client, job)
    assert running["state"] == "running"
    assert running["progress"]["step"] == 4
    assert running["cost"]["saved_vs_fp32"] > 0.9
    assert running["energy"]["measured"] == {
        "joules": None,
        "kwh": None,
        "gco2e": None,
        "source": None,
        "scope": None,
        "reason": "no counter on this machine",
    }
    assert append(client, assignment, 6, records[5:]).json()["acked"] == len(records)
    done = get(client, job)
    assert (done["state"], done["reason"], done["result"]["accuracy"]) == ("succeeded", "completed", 0.97)
    assert steps_of(client, job) == [(1, index) for index in range(STEPS)]


def test_energy_is_shown_in_all_units_measured_and_modelled_apart_by_the_workers_grid(
    client: TestClient, claim: Claim, job: dict[str, Any]
) -> None:
    assignment = claim("a")
    assert assignment is not None
    counter = EnergySource(source="rapl", scope="package-0")
    begun = started().model_copy(update={"energy": counter, "grid_gco2e_per_kwh": 100.0})
    figures = {"energy_joules": 7.2e6, "modelled_joules": 3.6e6, "step_gbitops": 10.0, "step_modelled_joules": 0.5}
    append(client, assignment, 1, [begun, step(0).model_copy(update=figures)])
    energy = get(client, job)["energy"]
    assert energy["grid_gco2e_per_kwh"] == 100.0
    for kind, kwh in (("measured", 2.0), ("modelled", 1.0)):
        assert (energy[kind]["joules"], energy[kind]["kwh"], energy[kind]["gco2e"]) == (kwh * 3.6e6, kwh, kwh * 100)
    (row,) = client.get(f"/v1/jobs/{job['id']}/metrics").json()["data"]
    assert (row["step_gbitops"], row["step_modelled_joules"], row["step_energy_joules"]) == (10.0, 0.5, None)


def test_a_slot_gets_only_what_fits_it(client: TestClient, claim: Claim) -> None:
    client.post("/v1/jobs", json=spec_document(resources={"devices": 4}))
    client.post("/v1/jobs", json=spec_document(resources={"queue": "other"}))
    client.post("/v1/jobs", json=spec_document(resources={"device": "cuda"}))
    assert claim("a") is None
    assert claim("b", devices=4) is not None


def test_higher_priorities_first_and_equal_ones_in_order(client: TestClient, claim: Claim) -> None:
    ids = [
        client.post("/v1/jobs", json=spec_document(resources={"priority": priority})).json()["id"]
        for priority in (0, 5, 0, 5)
    ]
    order = [assignment["job_id"] for name in "abcd" if (assignment := claim(name))]
    assert order == [ids[1], ids[3], ids[0], ids[2]]


def test_concurrent_claims_never_share_a_job(client: TestClient, claim: Claim) -> None:
    ids = {client.post("/v1/jobs", json=spec_document()).json()["id"] for _ in range(6)}
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(claim, "abcdef01"))
    got = [answer["job_id"] for answer in answers if answer]
    assert len(got) == len(set(got))
    while (more := claim(f"{len(got):x}" if len(got) > 1 else "9")) is not None:
        got.append(more["job_id"])
    assert set(got) == ids


def test_a_claim_repeated_after_a_lost_answer_gets_its_attempt_again(
    client: TestClient, claim: Claim, job: dict[str, Any]
) -> None:
    first, again = claim("a"), claim("a")
    assert first
    assert again
    assert (again["job_id"], again["attempt"]) == (job["id"], 1)
    assert append(client, first, 1, []).status_code == 401, "the first token is void"
    assert append(client, again, 1, []).status_code == 200
    assert claim("a") is None, "an attempt that was heard of is not handed out again"


def test_records_sent_again_are_stored_once(client: TestClient, claim: Claim, job: dict[str, Any]) -> None:
    assignment = claim("a")
    assert assignment
    records = [started(), step(0), step(1), checkpoint(2), step(2)]
    append(client, assignment, 1, records[:3])
    append(client, assignment, 1, records[:3])
    assert append(client, assignment, 2, records[1:]).json()["acked"] == 5
    assert append(client, assignment, 1, records).json()["acked"] == 5
    assert steps_of(client, job) == [(1, 0), (1, 1), (1, 2)]
    kinds = [row["type"] for row in client.get(f"/v1/jobs/{job['id']}/events").json()["data"]]
    assert kinds == ["state", "state", "started", "state", "checkpoint"]


def test_a_gap_is_refused_and_says_where_to_go_on(client: TestClient, claim: Claim, job: dict[str, Any]) -> None:
    assignment = claim("a")
    assert assignment
    append(client, assignment, 1, [started()])
    refused = append(client, assignment, 3, [step(1)])
    assert (refused.status_code, refused.json()["code"], refused.json()["acked"]) == (409, "sequence_gap", 1)
    assert steps_of(client, job) == []


def test_a_lost_attempt_is_refused_and_its_successor_untouched(
    client: TestClient, claim: Claim, job: dict[str, Any]
) -> None:
    old = claim("a")
    assert old
    append(client, old, 1, [started(), step(0), checkpoint(1), step(1)])
    expire(client, job)
    assert get(client, job)["state"] == "queued"
    assert get(client, job)["reason"] == "worker_lost"
    new = claim("b")
    assert new
    assert (new["attempt"], new["resume"]["step"]) == (2, 1)
    late = append(client, old, 5, [step(2)])
    assert (late.status_code, late.json()["code"]) == (409, "stale_attempt")
    append(client, new, 1, [started(1), step(1)])
    assert append(client, old, 5, []).status_code == 409, "a late heartbeat neither"
    assert steps_of(client, job) == [(1, 0), (2, 1)]


def test_a_forged_token_is_refused(client: TestClient, claim: Claim, job: dict[str, Any]) -> None:
    assignment = claim("a")
    assert assignment
    assert append(client, assignment, 1, [started()], token="forged").json()["code"] == "invalid_token"
    assert get(client, job)["state"] == "starting"


def test_three_attempts_without_a_checkpoint_end_the_job(client: TestClient, claim: Claim, job: dict[str, Any]) -> None:
    for name, state in (("a", "queued"), ("b", "queued"), ("c", "failed")):
        assignment = claim(name)
        assert assignment
        append(client, assignment, 1, [started(), ended("failed", "rank_failed", "rank 1 died")])
        assert get(client, job)["state"] == state
    assert get(client, job)["reason"] == "rank_failed"
    assert "3 attempts in a row" in get(client, job)["message"]


def test_a_new_checkpoint_forgives_and_preemption_costs_nothing(
    client: TestClient, claim: Claim, job: dict[str, Any]
) -> None:
    crash = ended("failed", "rank_failed")
    lives = [
        [crash],
        [crash],
        [step(0), checkpoint(1), crash],
        [ended("preempted", "preempted")],
        [crash],
        [crash],
    ]
    for number, records in enumerate(lives):
        assignment = claim(str(number))
        assert assignment
        resume = assignment["resume"]["step"] if assignment["resume"] else 0
        assert append(client, assignment, 1, [started(resume), *records]).status_code == 200
        assert get(client, job)["state"] == "queued", number
    assignment = claim("f")
    assert assignment
    append(client, assignment, 1, [started(1), crash])
    assert get(client, job)["state"] == "failed"


def test_a_spec_that_cannot_be_trained_is_not_tried_again(
    client: TestClient, claim: Claim, job: dict[str, Any]
) -> None:
    assignment = claim("a")
    assert assignment
    append(client, assignment, 1, [ended("failed", "data_error", "train-images-idx3-ubyte is cut short")])
    end = get(client, job)
    assert (end["state"], end["reason"], end["message"]) == (
        "failed",
        "data_error",
        "train-images-idx3-ubyte is cut short",
    )


def test_steps_that_go_back_and_records_after_the_end_are_refused(
    client: TestClient, claim: Claim, job: dict[str, Any]
) -> None:
    assignment = claim("a")
    assert assignment
    append(client, assignment, 1, [started(), step(0), step(1)])
    assert append(client, assignment, 4, [step(1)]).json()["code"] == "invalid_record"
    assert append(client, assignment, 4, [ended("failed", "oom"), step(2)]).json()["code"] == "invalid_record"
    assert get(client, job)["state"] == "running", "a refused append changes nothing"
    assert steps_of(client, job) == [(1, 0), (1, 1)]


def test_a_cancel_reaches_the_worker_and_ends_when_it_says_so(
    client: TestClient, claim: Claim, job: dict[str, Any]
) -> None:
    assignment = claim("a")
    assert assignment
    append(client, assignment, 1, [started()])
    asked = client.post(f"/v1/jobs/{job['id']}/cancel").json()
    assert (asked["state"], asked["cancel_requested"]) == ("running", True)
    assert append(client, assignment, 2, []).json()["command"] == "cancel"
    append(client, assignment, 2, [ended("cancelled", "user", "cancelled on request")])
    assert get(client, job)["state"] == "cancelled"
    assert client.post(f"/v1/jobs/{job['id']}/cancel").status_code == 200, "asking again is fine"


def test_a_cancelled_job_whose_worker_fell_silent_is_cancelled(
    client: TestClient, claim: Claim, job: dict[str, Any]
) -> None:
    claim("a")
    client.post(f"/v1/jobs/{job['id']}/cancel")
    expire(client, job)
    assert get(client, job)["state"] == "cancelled"
