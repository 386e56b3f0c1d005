"""Jobs of several nodes: their slots are had at once, and what becomes of one node becomes of all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import opened
from tests.e2e.stack import Stack, attempt_processes, kill_group_and_descendants, on_half_the_cores, spec, until

SameWeights = Callable[[Stack, dict[str, Any]], None]


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Stack]:
    """A stack of two workers."""
    with opened(tmp_path, f"sqlite:///{tmp_path}/cpt.db") as stack:
        stack.start_worker("second")
        for name in ("worker", "second"):
            on_half_the_cores(stack.running[name])
        until(lambda: len(stack.http.get("/v1/workers").json()["data"]) == 2, "both workers to report")
        yield stack


def gang(nodes: int = 2, **changes: Any) -> dict[str, Any]:
    """The spec of `undisturbed`, whose two ranks are on two nodes."""
    return spec(resources={"devices": 1, "nodes": nodes, "device": "cpu"}, **changes)


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
    killed = nodes.running.pop("second")
    kill_group_and_descendants(killed)
    killed.wait()
    until(lambda: not attempt_processes(f"{job_id}-1"), "the other node's processes to be gone", 10)
    nodes.start_worker("third")
    on_half_the_cores(nodes.running["third"])
    job = nodes.wait_for_state(job_id, "succeeded")
    assert job["attempt"] >= 2
    assert_same_weights(nodes, job)
