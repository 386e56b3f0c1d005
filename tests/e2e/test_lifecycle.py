"""Jobs that are paused, or cancelled and tried again, end with the weights of one that nobody touched."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.e2e.conftest import opened
from tests.e2e.stack import Stack, attempt_processes, spec, until

SameWeights = Callable[[Stack, dict[str, Any]], None]


@pytest.fixture(scope="module")
def shared_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One stack for these tests, on SQLite."""
    home = tmp_path_factory.mktemp("lifecycle")
    with opened(home, f"sqlite:///{home}/cpt.db") as stack:
        yield stack


def act(stack: Stack, job_id: str, action: str) -> dict[str, Any]:
    found: dict[str, Any] = stack.http.post(f"/v1/jobs/{job_id}/{action}").raise_for_status().json()
    return found


def test_a_paused_job_frees_its_slot_and_goes_on_bit_for_bit(
    shared_stack: Stack, assert_same_weights: SameWeights
) -> None:
    stack = shared_stack
    job_id = stack.submit()
    stack.wait_for_step(job_id, 1)
    act(stack, job_id, "pause")
    paused = stack.wait_for_state(job_id, "paused")
    assert paused["checkpoint"]["step"] == paused["progress"]["step"]
    assert not attempt_processes(job_id)
    other = stack.submit(spec(steps=4, checkpoint=4))
    stack.wait_for_state(other, "succeeded")

    act(stack, job_id, "resume")
    job = stack.wait_for_state(job_id, "succeeded")
    assert [start["resume_step"] for start in stack.events(job_id, "started")] == [0, paused["progress"]["step"]]
    assert [row["step"] for row in stack.metrics(job_id)] == list(range(40))
    assert_same_weights(stack, job)


def test_a_cancelled_job_is_retried_from_its_checkpoint_bit_for_bit_and_its_files_go_when_they_are_not_needed(
    shared_stack: Stack, assert_same_weights: SameWeights
) -> None:
    stack = shared_stack
    job_id = stack.submit()
    stack.wait_for_step(job_id, 11)
    act(stack, job_id, "cancel")
    stack.wait_for_state(job_id, "cancelled")
    again = act(stack, job_id, "retry")["id"]
    stack.http.delete(f"/v1/jobs/{job_id}").raise_for_status()
    job = stack.wait_for_state(again, "succeeded")
    (start,) = stack.events(again, "started")
    assert start["resume_step"] >= 10
    assert_same_weights(stack, job)
    until(lambda: not (stack.storage / "checkpoints" / job_id).exists(), "the deleted job's files to go", 40)
    assert (stack.storage / job["result"]["checkpoint"]).exists()
