"""Jobs of several nodes: reserved whole or not at all, one log, and what ends one node ends all."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from api.agent import service as agent
from api.db import Database
from api.fleet import service as fleet
from api.jobs import repository, service
from api.jobs.models import Job
from api.problems import ApiError
from cpt_core.lifecycle import Reason, State
from cpt_core.protocol import AppendRequest, Assignment, ClaimRequest, NodeFailure, NodeReport, WorkerReport
from tests.api.factories import ended, spec, started
from tests.api.test_claims import allow

LEASE = 30.0


@pytest.fixture
def workers(database: Database) -> Sequence[str]:
    """Three workers of one slot that are there."""
    names = ["w0", "w1", "w2"]
    for name in names:
        said = WorkerReport(worker=name, version="1", queues=["default"], device="cpu", slots=1, devices=4, gangs=True)
        fleet.report(database, said)
    return names


def put(database: Database, project: str = "default", batch: int = 48, **resources: Any) -> str:
    sizes = {"training": {"steps": 20, "batch_size": batch}, "evaluation": {"batch_size": batch}}
    job, _ = service.create(database, project, spec(**sizes, resources=resources), None)
    return job.id


def take(database: Database, worker: str, **changes: Any) -> Assignment | None:
    found = {"claim_id": secrets.token_hex(16), "queue": "default", "device": "cpu", "devices": 4}
    found |= {"endpoint": "10.0.0.1:2000", "worker": worker}
    return agent.claim(database, ClaimRequest.model_validate(found | changes), LEASE)


def gang(assignment: Assignment | None) -> tuple[int, int]:
    assert assignment is not None
    assert assignment.gang is not None
    return assignment.gang.node, assignment.gang.nodes


def state(database: Database, job_id: str) -> tuple[str, int, str | None]:
    with database.read() as session:
        job = repository.get(session, job_id)
        assert isinstance(job, Job)
        return job.state, job.strikes, job.reason


def report(database: Database, assignment: Assignment, failure: NodeFailure | None = None) -> str:
    said = NodeReport(failure=failure)
    return agent.report(database, assignment.job_id, assignment.attempt, assignment.token, said).command


def expire(database: Database, node: int) -> bool:
    (pulse,) = [pulse for pulse in agent.pulses(database) if pulse.node == node]
    return agent.expire(database, pulse)


def test_every_node_gets_its_place_and_where_to_meet(database: Database, workers: Sequence[str]) -> None:
    put(database, nodes=3, devices=1)
    found = [take(database, name, endpoint=f"10.0.0.{place}:2000") for place, name in enumerate(workers)]
    assert [gang(each) for each in found] == [(0, 3), (1, 3), (2, 3)]
    assert {each.gang.endpoint for each in found if each and each.gang} == {"10.0.0.0:2000"}, "the first node's"
    assert take(database, "w0") is None


def test_a_gang_that_does_not_fit_holds_nothing(database: Database, workers: Sequence[str]) -> None:
    put(database, devices=1)
    assert take(database, "w0")
    job_id = put(database, nodes=3, devices=1)
    assert take(database, "w1") is None
    assert state(database, job_id)[0] == State.QUEUED
    assert len(agent.pulses(database)) == 1, "the job that runs"


def test_slots_wait_for_a_gang_that_is_first_in_line_and_could_run(database: Database, workers: Sequence[str]) -> None:
    put(database, devices=1)
    assert take(database, "w0")
    put(database, nodes=3, devices=1)
    put(database, devices=1)
    assert take(database, "w1") is None, "the small job does not overtake"


def test_a_gang_that_no_workers_could_hold_keeps_nobody_from_working(
    database: Database, workers: Sequence[str]
) -> None:
    put(database, nodes=4, devices=1)
    small = put(database, devices=1)
    found = take(database, "w0")
    assert found is not None
    assert found.job_id == small


def test_fewer_nodes_do_where_the_spec_allows_it(database: Database, workers: Sequence[str]) -> None:
    put(database, nodes=4, min_nodes=2, devices=1, batch=32)
    assert gang(take(database, "w0")) == (0, 2), "three do not divide the batch"


def test_workers_of_the_release_before_get_no_gangs_and_their_claims_are_answered_as_before(
    database: Database, workers: Sequence[str]
) -> None:
    put(database, nodes=2, devices=1)
    plain = put(database, devices=1)
    found = take(database, "old", endpoint=None)
    assert found is not None
    assert found.job_id == plain
    document = found.model_dump(mode="json")
    assert "gang" not in document
    assert not {"nodes", "min_nodes"} & document["spec"]["resources"].keys()


def test_two_gangs_for_the_same_slots_run_one_after_the_other(database: Database, workers: Sequence[str]) -> None:
    first, second = put(database, nodes=2, devices=1), put(database, nodes=2, devices=1)
    with ThreadPoolExecutor(3) as pool:  # all at once, on a real database
        found = [each for each in pool.map(lambda name: take(database, name), workers) if each]
    assert sorted((each.job_id, *gang(each)) for each in found) == [(first, 0, 2), (first, 1, 2)]
    assert state(database, second)[0] == State.QUEUED
    (head,) = [each for each in found if gang(each)[0] == 0]
    request = AppendRequest(first_seq=1, records=[started(), ended("succeeded", "completed")])
    agent.append(database, first, 1, head.token, request)
    with ThreadPoolExecutor(3) as pool:
        found = [each for each in pool.map(lambda name: take(database, name), workers) if each]
    assert sorted((each.job_id, *gang(each)) for each in found) == [(second, 0, 2), (second, 1, 2)]


def test_only_the_first_node_writes_the_log(database: Database, workers: Sequence[str]) -> None:
    job_id = put(database, nodes=2, devices=1)
    first, second = take(database, "w0"), take(database, "w1")
    assert first is not None
    assert second is not None
    with pytest.raises(ApiError) as refused:
        agent.append(database, job_id, 1, second.token, AppendRequest(first_seq=1, records=[started()]))
    assert refused.value.problem.code == "not_the_first_node"
    with pytest.raises(ApiError) as refused:
        report(database, first)
    assert refused.value.problem.code == "first_node"


def test_a_node_that_nobody_takes_in_time_frees_the_others_without_a_strike(
    database: Database, workers: Sequence[str]
) -> None:
    job_id = put(database, nodes=2, devices=1)
    first = take(database, "w0")
    assert first is not None
    assert expire(database, node=1)
    assert state(database, job_id) == (State.QUEUED, 0, Reason.PREEMPTED)
    with pytest.raises(ApiError) as refused:
        agent.append(database, job_id, 1, first.token, AppendRequest(first_seq=1, records=[]))
    assert refused.value.problem.code == "stale_attempt"


def test_a_node_that_falls_silent_ends_the_attempt_for_all(database: Database, workers: Sequence[str]) -> None:
    job_id = put(database, nodes=2, devices=1)
    first, second = take(database, "w0"), take(database, "w1")
    assert first is not None
    assert second is not None
    agent.append(database, job_id, 1, first.token, AppendRequest(first_seq=1, records=[started()]))
    (pulse,) = [pulse for pulse in agent.pulses(database) if pulse.node == 1]
    assert report(database, second) == "continue"
    assert not agent.expire(database, pulse), "it has been heard since"
    assert expire(database, node=1)
    assert state(database, job_id) == (State.QUEUED, 1, Reason.WORKER_LOST)
    with pytest.raises(ApiError) as refused:
        report(database, second)
    assert refused.value.problem.code == "stale_attempt"


def test_the_first_node_hears_what_ended_another(database: Database, workers: Sequence[str]) -> None:
    job_id = put(database, nodes=2, devices=1)
    first, second = take(database, "w0"), take(database, "w1")
    assert first is not None
    assert second is not None
    failure = NodeFailure(node=0, reason=Reason.OOM, message="Training ran out of memory.")
    report(database, second, failure)
    answer, _ = agent.append(database, job_id, 1, first.token, AppendRequest(first_seq=1, records=[]))
    assert answer.failure == failure.model_copy(update={"node": 1}), "the node is the token's, whatever was said"
    assert state(database, job_id)[0] == State.STARTING, "the first node tells the end"


def test_a_repeated_claim_gets_its_node_again(database: Database, workers: Sequence[str]) -> None:
    put(database, nodes=2, devices=1)
    take(database, "w0")
    claim_id = secrets.token_hex(16)
    once, again = (take(database, "w1", claim_id=claim_id) for _ in range(2))
    assert gang(once) == gang(again) == (1, 2)
    assert again is not None
    report(database, again)
    assert take(database, "w1", claim_id=claim_id) is None, "it is under way"


def test_nodes_count_towards_the_devices_of_a_project(database: Database, workers: Sequence[str]) -> None:
    allow(database, small=3)
    with pytest.raises(ApiError) as refused:
        put(database, "small", nodes=4, devices=1)
    assert refused.value.problem.code == "invalid_request"
