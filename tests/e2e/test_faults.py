"""Parts of the stack die, stop or lose their memory while a job runs: it ends as if nothing had happened."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.stack import SHORT_LEASE_SECONDS, Stack, attempt_processes, kill_group_and_descendants, spec, until

SameWeights = Callable[[Stack, dict[str, Any]], None]
STEPS = list(range(40))


def steps(stack: Stack, job_id: str) -> list[int]:
    return [row["step"] for row in stack.metrics(job_id)]


def test_a_killed_worker_is_resumed_by_another_bit_for_bit(
    short_lease_stack: Stack, assert_same_weights: SameWeights
) -> None:
    stack = short_lease_stack
    job_id = stack.submit()
    stack.wait_for_step(job_id, 14)
    worker = stack.running.pop("worker")
    kill_group_and_descendants(_process(worker.pid))
    worker.wait()
    until(lambda: not attempt_processes(job_id), "the old processes to be gone", 5)
    stack.start_worker("successor")
    job = stack.wait_for_state(job_id, "succeeded")
    assert job["attempt"] == 2
    (_, second) = stack.events(job_id, "started")
    assert second["resume_step"] >= 10
    assert steps(stack, job_id) == STEPS
    assert_same_weights(stack, job)


def test_only_the_worker_killed_leaves_no_process_behind(stack: Stack) -> None:
    job_id = stack.submit(spec(steps=100_000, checkpoint=10_000))
    stack.wait_for_step(job_id, 1)
    processes = attempt_processes(job_id)
    assert len(processes) >= 3, "a launcher and two ranks"
    for process in processes:  # so that none can end by its own doing, as rank 0 does when nobody reads its events
        process.suspend()
    stack.kill("worker")
    until(lambda: not attempt_processes(job_id), "launcher and ranks to be gone", 5)


HOLD_ACKNOWLEDGEMENTS = """
import os, pathlib, sys, time
if sys.orig_argv[-2:] == ["-m", "worker"]:
    from kombu.message import Message
    folder, acknowledge = pathlib.Path(os.environ["HOLD"]), Message.ack_log_error
    def held(self, *arguments, **more):
        (folder / "held").touch()
        while not (folder / "go").exists():
            time.sleep(0.01)
        return acknowledge(self, *arguments, **more)
    Message.ack_log_error = held
"""


def test_a_worker_hears_of_jobs_again_after_redis_died_while_it_acknowledged_a_bell(stack: Stack) -> None:
    """Celery only logs that, and would wait for the acknowledgement before it took another bell: for ever."""
    stack.kill("worker")
    modules = stack.home / "modules"
    modules.mkdir()
    (modules / "sitecustomize.py").write_text(HOLD_ACKNOWLEDGEMENTS)
    stack.start_worker("other", PYTHONPATH=str(modules), HOLD=str(modules))
    short = spec(steps=4, checkpoint=4, devices=1)
    first = stack.submit(short)
    until((modules / "held").exists, "a bell to be acknowledged")
    stack.kill("valkey")
    (modules / "go").touch()
    stack.wait_for_state(first, "succeeded")
    stack.start_redis()
    stack.wait_for_state(stack.submit(short), "succeeded", seconds=40)


@pytest.mark.parametrize("keep_data", [True, False])
def test_redis_dies_while_one_job_runs_and_another_waits(
    stack: Stack, assert_same_weights: SameWeights, keep_data: bool
) -> None:
    running = stack.submit()
    stack.wait_for_step(running, 3)
    waiting = stack.submit()
    stack.kill("valkey")
    away = stack.job(running)["progress"]["step"]
    stack.wait_for_step(running, away + 5)
    third = stack.submit(spec(steps=4, checkpoint=4))
    stack.start_redis(keep_data=keep_data)
    for job_id in (running, waiting, third):
        job = stack.wait_for_state(job_id, "succeeded")
        assert job["attempt"] == 1
    assert steps(stack, running) == STEPS
    assert_same_weights(stack, stack.job(running))
    assert_same_weights(stack, stack.job(waiting))


def test_a_killed_api_loses_and_doubles_nothing(stack: Stack, assert_same_weights: SameWeights) -> None:
    job_id = stack.submit()
    stack.wait_for_step(job_id, 5)
    stack.kill("api")
    stack.start_api()
    job = stack.wait_for_state(job_id, "succeeded")
    assert job["attempt"] == 1
    assert steps(stack, job_id) == STEPS
    assert_same_weights(stack, job)


def test_a_hundred_doorbells_make_one_attempt(stack: Stack) -> None:
    job_id = stack.submit(spec(steps=4, checkpoint=4))
    stack.ring(100)
    job = stack.wait_for_state(job_id, "succeeded")
    assert job["attempt"] == 1
    assert len(stack.events(job_id, "started")) == 1


def test_a_worker_stopped_past_its_lease_is_refused_and_its_successor_untouched(
    short_lease_stack: Stack, assert_same_weights: SameWeights
) -> None:
    stack = short_lease_stack
    job_id = stack.submit()
    stack.wait_for_step(job_id, 3)
    old = _process(stack.running["worker"].pid)
    old_tree = attempt_processes(job_id)
    old.suspend()
    stack.start_worker("successor")
    until(lambda: stack.job(job_id)["attempt"] == 2, "a second attempt", SHORT_LEASE_SECONDS + 60)
    old.resume()
    until(lambda: not any(process.is_running() for process in old_tree), "the old tree to die", 10)
    job = stack.wait_for_state(job_id, "succeeded")
    assert job["attempt"] == 2
    assert steps(stack, job_id) == STEPS
    log = list(stack.stream(job_id))
    second = next(position for position, kind, data in log if kind == "started" and data["attempt"] == 2)
    assert all(data["attempt"] == 2 for position, _, data in log if position > second)
    assert_same_weights(stack, job)


def _process(pid: int) -> Any:
    import psutil

    return psutil.Process(pid)
