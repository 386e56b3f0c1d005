"""One job, from a spec over HTTP to rows in SQL and events on a stream, and the ways it can be ended."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.stack import Stack, attempt_processes, spec, until


def test_a_spec_becomes_metrics_in_sql_and_the_same_on_a_stream_that_broke_twice(
    stack_on: Stack, assert_same_weights: Callable[[Stack, dict[str, Any]], None]
) -> None:
    job_id = stack_on.submit()
    received: list[tuple[int, str, dict[str, Any]]] = []
    for drop_after in (12, 33, None):
        last = received[-1][0] if received else 0
        for count, event in enumerate(stack_on.stream(job_id, after=last)):
            received.append(event)
            if count == drop_after:
                break
    assert received.pop()[1:] == ("end", {"state": "succeeded"})
    assert [position for position, _, _ in received] == list(range(1, len(received) + 1))

    steps = [data for _, kind, data in received if kind == "step"]
    assert steps == stack_on.metrics(job_id)
    assert [row["step"] for row in steps] == list(range(40))
    assert [row["forward_bits"] for row in steps[:10]] == [3, 3, 3, 4, 5, 6, 6, 7, 8, 8]
    assert {kind for _, kind, _ in received} >= {"state", "started", "step", "checkpoint", "evaluation", "finished"}

    job = stack_on.job(job_id)
    assert job["result"]["gbitops"] == steps[-1]["gbitops"] < job["result"]["gbitops_static"]
    assert job["energy"]["modelled"]["joules"] > 0
    assert (job["energy"]["measured"]["joules"] is None) == (job["energy"]["measured"]["reason"] is not None)
    assert_same_weights(stack_on, job)
    until(lambda: not attempt_processes(job_id), "the job's processes to be gone", 5)


def test_a_range_test_is_a_job_whose_log_has_the_curve_and_whose_result_the_bounds(stack: Stack) -> None:
    precision = {"schedule": "auto", "min_bits": 7, "steps_per_bits": 40, "window": 10, "cycles": 4}
    job_id = stack.submit(spec(steps=100, type="range_test", precision=precision))
    assert stack.job(job_id)["progress"]["steps"] == 80
    job = stack.wait_for_state(job_id, "succeeded")
    (outcome,) = stack.events(job_id, "range_test")
    assert [point["bits"] for point in outcome["curve"]] == [7, 8]
    assert job["result"]["bounds"] == outcome["bounds"]
    assert (job["progress"]["step"], job["progress"]["fraction"], job["progress"]["eta_seconds"]) == (80, 1.0, 0.0)
    assert job["evaluation"] is None
    assert job["cost"]["gbitops"] == job["result"]["gbitops"] == stack.metrics(job_id)[-1]["gbitops"]


def test_cancel_while_queued(stack: Stack) -> None:
    stack.kill("worker")
    job_id = stack.submit()
    assert stack.http.post(f"/v1/jobs/{job_id}/cancel").json()["state"] == "cancelled"


@pytest.mark.parametrize("moment", ["starting", "running"])
def test_cancel_while_a_worker_has_it(stack: Stack, moment: str) -> None:
    job_id = stack.submit(spec(steps=100_000, checkpoint=10_000))
    if moment == "starting":
        stack.wait_for_state(job_id, "starting")
    else:
        stack.wait_for_step(job_id, 1)
    stack.http.post(f"/v1/jobs/{job_id}/cancel").raise_for_status()
    job = stack.wait_for_state(job_id, "cancelled", seconds=20)
    assert job["reason"] == "user"
    assert not attempt_processes(job_id), "cancelled is said only when no process is left"
    following = stack.submit()
    stack.wait_for_state(following, "succeeded")


def test_a_corrupt_dataset_fails_on_the_worker_with_a_sentence(stack: Stack) -> None:
    folder = stack.data_root / "broken"
    folder.mkdir()
    for name in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (folder / f"{name}-ubyte.gz").write_bytes(gzip.compress(b"\x00\x00\x08\x03 cut short"))
    job_id = stack.submit(spec(dataset={"name": "idx", "path": "broken"}))
    job = stack.wait_for_state(job_id, "failed")
    assert job["reason"] == "data_error"
    assert "ubyte" in job["message"]
    assert job["attempt"] == 1, "trying again would only repeat it"
