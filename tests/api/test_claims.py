"""Which job a claim gets: by priority, then fairly between projects, then in order; never past a limit."""

from __future__ import annotations

import secrets
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import delete

from api.agent import service as agent
from api.db import Database
from api.jobs import control, service
from api.projects.models import Project
from cpt_core.events import now
from cpt_core.lifecycle import ACTIVE
from cpt_core.protocol import AppendRequest, Assignment, ClaimRequest
from tests.api.conftest import Claim
from tests.api.factories import ended, spec, spec_document

LEASE = 30.0


def submit(client: TestClient, **resources: Any) -> str:
    answer = client.post("/v1/jobs", json=spec_document(resources=resources))
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def request(**changes: Any) -> ClaimRequest:
    found = {"claim_id": secrets.token_hex(16), "worker": "w", "queue": "default", "device": "cpu", "devices": 8}
    return ClaimRequest.model_validate(found | changes)


def allow(database: Database, **devices: int) -> None:
    """Let projects have so many devices in use."""
    with database.write() as session:
        for project, allowed in devices.items():
            session.add(Project(id=project, name=project, created_at=now(), max_running_devices=allowed))


def take(database: Database, **changes: Any) -> Assignment | None:
    return agent.claim(database, request(**changes), LEASE)


def put(database: Database, project: str, **resources: Any) -> str:
    job, _ = service.create(database, project, spec(resources=resources), None)
    return job.id


def projects(database: Database, claimed: list[Assignment | None], of: dict[str, str]) -> str:
    return "".join(of[assignment.job_id] for assignment in claimed if assignment)


def test_a_worker_gets_only_jobs_whose_labels_it_has(client: TestClient, claim: Claim) -> None:
    both, one, none = submit(client, labels=["a100", "eu"]), submit(client, labels=["eu"]), submit(client)
    order = [claim(labels=labels) for labels in ([], [], ["us"], ["eu"], ["eu", "a100", "x"])]
    assert [found and found["job_id"] for found in order] == [none, None, None, one, both]


def test_bad_labels_and_limits_are_named(client: TestClient) -> None:
    for changes, pointer in (
        ({"resources": {"labels": ["a b"]}}, "/resources/labels/0"),
        ({"resources": {"labels": "a100"}}, "/resources/labels"),
        ({"resources": {"labels": [str(number) for number in range(17)]}}, "/resources/labels"),
        ({"limits": {"max_runtime": 0}}, "/limits/max_runtime"),
        ({"limits": {"queue_timeout": -1}}, "/limits/queue_timeout"),
        ({"limits": {"no_progress": "5m"}}, "/limits/no_progress"),
    ):
        answer = client.post("/v1/jobs", json=spec_document(**changes))
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer)


def test_the_project_with_the_fewest_devices_in_use_goes_first(database: Database) -> None:
    of = {put(database, "a", devices=2): "a" for _ in range(3)} | {put(database, "b"): "b" for _ in range(4)}
    claimed = [take(database) for _ in range(7)]
    # a has 2 devices, so b gets 2; then equal, so the oldest, a; then b gets 2 once more.
    assert projects(database, claimed, of) == "abbabba"


def test_priority_comes_before_fairness(database: Database) -> None:
    of = {put(database, "a", priority=1): "a" for _ in range(2)} | {put(database, "b"): "b" for _ in range(2)}
    assert projects(database, [take(database) for _ in range(4)], of) == "aabb"


def test_a_project_at_its_limit_is_passed_over_until_one_of_its_jobs_ends(database: Database) -> None:
    of = {put(database, "a", priority=9): "a" for _ in range(3)} | {put(database, "b"): "b"}
    allow(database, a=1, b=1)
    claimed = [take(database) for _ in range(3)]
    assert projects(database, claimed, of) == "ab"
    assert claimed[2] is None
    first = claimed[0]
    assert first
    end = AppendRequest(first_seq=1, records=[ended("failed", "spec_error")])
    agent.append(database, first.job_id, first.attempt, first.token, end)
    assert projects(database, [take(database)], of) == "a"


def test_limits_are_each_projects_own(database: Database) -> None:
    of = {put(database, "a"): "a" for _ in range(3)} | {put(database, "b"): "b" for _ in range(3)}
    allow(database, a=1, b=2)
    claimed = [take(database) for _ in range(4)]
    assert sorted(projects(database, claimed, of)) == ["a", "b", "b"]


def test_a_job_that_needs_more_devices_than_are_left_is_not_passed_by_a_smaller_one_of_its_project(
    database: Database,
) -> None:
    of = {put(database, "a", devices=devices): str(devices) for devices in (2, 4, 1)}
    allow(database, a=4)
    claimed = [take(database) for _ in range(3)]
    assert projects(database, claimed, of) == "2"


@pytest.mark.parametrize("limit", [1, 3])
def test_claims_at_the_same_moment_never_pass_the_limit_nor_share_a_job(database: Database, limit: int) -> None:
    for number in range(12):
        put(database, "ab"[number % 2])
    allow(database, a=limit, b=limit)
    start = threading.Barrier(8)

    def claims() -> list[Assignment | None]:
        start.wait()
        return [take(database) for _ in range(4)]

    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(claims) for _ in range(8)]
        claimed = [found for future in futures for found in future.result() if found]
    assert len({found.job_id for found in claimed}) == len(claimed)
    counted = Counter(job.project for job in everything(database) if job.state in ACTIVE)
    assert counted == {"a": limit, "b": limit}


def test_claims_and_users_at_the_same_moment_leave_no_job_in_two_hands(database: Database) -> None:
    ids = [put(database, "a") for _ in range(12)]
    start = threading.Barrier(4)

    def claims() -> list[Assignment | None]:
        start.wait()
        return [take(database) for _ in range(6)]

    def users(action: Callable[..., Any]) -> None:
        start.wait()
        for job_id in ids:
            action(database, "a", job_id)

    with ThreadPoolExecutor(4) as pool:
        claiming = [pool.submit(claims) for _ in range(2)]
        asking = [pool.submit(users, action) for action in (control.pause, control.resume)]
        claimed = [found.job_id for future in claiming for found in future.result() if found]
        for future in asking:
            future.result()
    assert len(set(claimed)) == len(claimed)
    assert set(claimed) == {job.id for job in everything(database) if job.state in ACTIVE}


def everything(database: Database) -> list[Any]:
    return [
        job
        for project in "abc"
        for job in service.page(
            database, project, cursor=None, states=[], queue=None, archived=False, sweep=None, limit=1000
        )
    ]


def best(waiting: dict[str, tuple[str, int, int]], active: dict[str, tuple[str, int]], limit: int) -> str | None:
    """The rule, told once more and plainly: {job: (project, priority, devices)} in the order of submission."""
    used: Counter[str] = Counter()
    for project, devices in active.values():
        used[project] += devices
    first: dict[str, str] = {}
    for job, (project, _, _) in sorted(waiting.items(), key=lambda item: -item[1][1]):
        first.setdefault(project, job)
    fit = [job for job, (project, _, devices) in waiting.items() if used[project] + devices <= limit]
    fit = [job for job in fit if job in first.values()]
    return min(fit, key=lambda job: (-waiting[job][1], used[waiting[job][0]]), default=None)


@hypothesis_settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    moves=st.lists(
        st.one_of(
            st.tuples(st.just("submit"), st.sampled_from("abc"), st.integers(0, 1), st.integers(1, 3)),
            st.tuples(st.just("claim"), st.just(""), st.just(0), st.just(0)),
            st.tuples(st.just("end"), st.just(""), st.integers(0, 3), st.just(0)),
        ),
        max_size=25,
    )
)
def test_every_claim_gets_the_job_that_the_rule_names(
    database: Database, moves: list[tuple[str, str, int, int]]
) -> None:
    limit = 4
    waiting: dict[str, tuple[str, int, int]] = {}
    active: dict[str, tuple[str, int]] = {}
    with database.write() as session:
        session.execute(delete(Project))
    allow(database, a=limit, b=limit, c=limit)
    for move, project, number, devices in moves:
        if move == "submit":
            waiting[put(database, project, priority=number, devices=2 ** (devices - 1))] = (
                project,
                number,
                2 ** (devices - 1),
            )
        elif move == "end" and active:
            job_id = list(active)[number % len(active)]
            owner, _ = active.pop(job_id)
            assert control.cancel(database, owner, job_id)
            (pulse,) = [pulse for pulse in agent.pulses(database) if pulse.job_id == job_id]
            assert agent.expire(database, pulse)
        elif move == "claim":
            expected = best(waiting, active, limit)
            found = take(database)
            assert (found and found.job_id) == expected
            if expected:
                owner, _, used = waiting.pop(expected)
                active[expected] = (owner, used)
    for job_id, (owner, _, _) in waiting.items():  # the next example starts anew
        control.cancel(database, owner, job_id)
    for job_id, (owner, _) in active.items():
        control.cancel(database, owner, job_id)
        for pulse in agent.pulses(database):
            agent.expire(database, pulse)
