"""Jobs of several nodes: their slots are had at once, and what becomes of one node becomes of all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import opened
from tests.e2e.stack import (
    SHORT_LEASE_SECONDS,
    Stack,
    attempt_processes,
    kill_group_and_descendants,
    on_half_the_cores,
    spec,
    until,
)

SameWeights = Callable[[Stack, dict[str, Any]], None]


@contextmanager
def two_workers(home: Path, **options: float) -> Iterator[Stack]:
    with opened(home, f"sqlite:///{home}/cpt.db", **options) as stack:
        stack.start_worker("second")
        for name in ("worker", "second"):
            on_half_the_cores(stack.running[name])
        until(lambda: len(stack.http.get("/v1/workers").json()["data"]) == 2, "both workers to report")
        yield stack


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Stack]:
    """A stack of two workers."""
    with two_workers(tmp_path) as stack:
        yield stack


@pytest.fixture
def short_lease_nodes(tmp_path: Path) -> Iterator[Stack]:
    """The same, where a node that does not come is not waited for long."""
    with two_workers(tmp_path, lease_seconds=SHORT_LEASE_SECONDS) as stack:
        yield stack


def gang(nodes: int = 2, *, min_nodes: int | None = None, **changes: Any) -> dict[str, Any]:
    """The spec of `undisturbed`, whose two ranks are on two nodes."""
    fewer = {"min_nodes": min_nodes} if min_nodes else {}
    return spec(resources={"devices": 1, "nodes": nodes, "device": "cpu", **fewer}, **changes)


def kill(stack: Stack, worker: str) -> None:
    """As a machine that loses its power."""
    killed = stack.running.pop(worker)
    kill_group_and_descendants(killed)
    killed.wait()


def test_two_nodes_train_what_two_devices_of_one_do(nodes: Stack, assert_same_weights: SameWeights) -> None:
    job_id = nodes.submit(gang())
    job = nodes.wait_for_state(job_id, "succeeded")
    assert job["attempt"] == 1
    (started,) = nodes.events(job_id, "started")
    assert started["world_size"] == 2
    assert_same_weights(nodes, job)
    log = nodes.http.get(f"/v1/jobs/{job_id}/logs", params={"rank": 1})
    assert log.status_code == 200, "the other node's output is the job's too"


def test_a_killed_node_ends_the_attempt_on_the_others_within_seconds(
    nodes: Stack, assert_same_weights: SameWeights
) -> None:
    job_id = nodes.submit(gang())
    nodes.wait_for_step(job_id, 14)
    kill(nodes, "second")
    until(lambda: not attempt_processes(f"{job_id}-1"), "the other node's processes to be gone", 10)
    nodes.start_worker("third")
    on_half_the_cores(nodes.running["third"])
    job = nodes.wait_for_state(job_id, "succeeded")
    assert job["attempt"] >= 2
    assert_same_weights(nodes, job)


def test_a_job_goes_on_with_fewer_nodes_where_it_may(short_lease_nodes: Stack) -> None:
    nodes = short_lease_nodes
    job_id = nodes.submit(gang(min_nodes=1))
    nodes.wait_for_step(job_id, 14)
    kill(nodes, "second")  # and it stays away
    job = nodes.wait_for_state(job_id, "succeeded")
    started = [(event["world_size"], event["resume_step"]) for event in nodes.events(job_id, "started")]
    assert [world_size for world_size, _ in started] == [2, 1]
    assert started[1][1] >= 10, "from the last checkpoint of both"
    assert [row["step"] for row in nodes.metrics(job_id)] == list(range(40)), "each step once"
    assert job["result"]["samples"] == 40 * 32, "a step's batch is as large as before"
    handed_back = [event for event in nodes.events(job_id, "state") if event["state"] == "queued"][1:]
    assert handed_back[0]["reason"] in ("rank_failed", "worker_lost")
    # Until a killed worker counts as gone, its place is kept for it; that is nobody's fault, and told as such.
    assert {event["reason"] for event in handed_back[1:]} <= {"preempted"}
    assert all("was not there in time" in event["message"] for event in handed_back[1:])
