"""Processes are killed, stopped, told to go, starved of memory or of each other."""

from __future__ import annotations

import os
import signal

from tests.chaos.rig import GRACE_SECONDS, LEASE_SECONDS
from tests.chaos.run import Run, document
from tests.e2e.stack import until


def worker_killed(run: Run) -> None:
    _worker_dies(run, tree=False)


def tree_killed(run: Run) -> None:
    _worker_dies(run, tree=True)


def _worker_dies(run: Run, *, tree: bool) -> None:
    rig, job_id = run.rig, run.reach()
    saved = run.checkpoint()
    name = rig.holder(job_id)
    run.clock()
    rig.kill_worker(name, tree=tree)
    until(lambda: not rig.processes(job_id, 1), "descendants to be gone", 2)
    run.release()
    rig.start_worker(name)
    if run.moment == "M6":
        run.succeeds(attempts=1)
        run.recovered()
        return
    run.wait_attempt(2)
    run.recovered(LEASE_SECONDS + 10)
    run.succeeds(attempts=2)
    assert run.ends()[0] == "worker_lost", run.ends()
    assert run.resumed_at() >= saved, f"resumed at {run.resumed_at()}, saved at {saved}"


def rank_killed(run: Run) -> None:
    _part_dies(run, str(run.ranks - 1), "rank_failed")


def torchrun_killed(run: Run) -> None:
    _part_dies(run, "launcher", "rank_failed")


def _part_dies(run: Run, part: str, reason: str) -> None:
    rig, job_id = run.rig, run.reach()
    found = until(lambda: rig.rank_processes(job_id).get(part), f"process {part}", 30)
    run.clock()
    found.kill()
    run.release()
    run.wait_attempt(2)
    run.recovered()
    _struck(run, reason)


def _struck(run: Run, reason: str) -> None:
    """Attempt 1 has ended for the reason, which the message names; it counts unless it had made a checkpoint."""
    ended = run.ends()
    assert ended[0] == reason, ended
    assert ended[1], "no sentence"
    run.succeeds(attempts=2)
    assert run.rig.strikes(run.job_id) == (1 if run.moment in ("M1", "M2") else 0)


def out_of_memory(run: Run) -> None:
    """A limit of the address space, then an allocation past it, by the framework's own allocator."""
    run.clock()
    run.reach("oom")
    run.wait_attempt(2)
    run.recovered()
    _struck(run, "oom")


def sigterm(run: Run) -> None:
    rig, job_id = run.rig, run.reach()
    name = rig.holder(job_id)
    process = rig.running[name]
    run.clock()
    process.send_signal(signal.SIGTERM)
    run.release()
    process.wait(GRACE_SECONDS + 2)
    run.recovered(GRACE_SECONDS + 2)
    assert not rig.processes(job_id, 1)
    rig.start_worker(name)
    run.succeeds(attempts=2)
    assert run.ends()[0] == "preempted", run.ends()
    assert rig.strikes(job_id) == 0
    if run.moment in ("M3", "M4"):
        assert run.resumed_at() >= 6, "no checkpoint was made"


def sigstop(run: Run) -> None:
    rig, job_id = run.rig, run.reach()
    old = rig.running[rig.holder(job_id)]
    tree = rig.processes(job_id, 1)
    run.clock()
    os.kill(old.pid, signal.SIGSTOP)
    try:
        run.release()
        run.wait_attempt(2)
        run.recovered(LEASE_SECONDS + 10)
    finally:
        os.kill(old.pid, signal.SIGCONT)
    until(lambda: not any(process.is_running() for process in tree), "the old tree to die", 10)
    run.succeeds(attempts=2)


def hung(run: Run) -> None:
    """Rank 1 never comes to the collective."""
    _hangs(run, stop=False)


def stopped_rank(run: Run) -> None:
    _hangs(run, stop=True)


def _hangs(run: Run, *, stop: bool) -> None:
    rig = run.rig
    job_id = run.reach(rank=1, limits={"no_progress": 4})
    run.plain.append(job_id)  # the limit changes nothing of the training
    if stop:
        rig.rank_processes(job_id)["1"].suspend()
        run.release()
    run.clock()
    run.wait_attempt(2, 120)
    run.recovered()
    told = {event.get("rank") for event in rig.events(job_id, "log") if event["attempt"] == 1}
    run.release()
    assert {0, 1} <= told, f"stacks of ranks {told}"
    _struck(run, "hung")


def poison(run: Run) -> None:
    rig, act = run.rig, "fail" if run.moment == "M1" else "die"
    run.clock()
    rig.arm(run.moment, act, always=True)
    job_id = rig.submit(document(run.ranks))
    rig.arm(run.moment, act, always=True, job=job_id)
    run.accepted.append(job_id)
    other = run.submit()
    job = rig.wait_for_state(job_id, "failed")
    run.recovered()
    assert job["attempt"] == 3, f"{job['attempt']} attempts"
    rig.release(run.moment)
    assert rig.wait_for_state(other, "succeeded")["attempt"] == 1, "another job was affected"
