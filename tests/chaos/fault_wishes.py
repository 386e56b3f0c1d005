"""Users cancel and pause, clocks jump, and all of it at once."""

from __future__ import annotations

import contextlib
import threading
import time
from pathlib import Path

import httpx

from tests.chaos.rig import GRACE_SECONDS, Rig
from tests.chaos.run import Run
from tests.e2e.stack import until

HEARD_SECONDS = 3.0
"""By then a worker has had an answer with the wish: it asks every two seconds at least."""


def _wish(run: Run, action: str) -> httpx.Response:
    """Say it at the moment, and have the worker hear of it before training, a matter of a second, is through."""
    if run.moment == "M5":
        run.rig.arm("M3", step=8)
    run.reach()
    if run.moment == "M5":
        run.rig.wait_held("M3")
    run.clock()
    answer = run.rig.http.post(f"/v1/jobs/{run.job_id}/{action}")
    if run.moment == "M5":
        run.release()
    if run.moment in ("M1", "M2", "M3", "M4", "M5"):
        time.sleep(HEARD_SECONDS)
        run.rig.release("M3")
    run.release()
    return answer


def cancel(run: Run) -> None:
    answer = _wish(run, "cancel")
    job_id = run.job_id
    if run.moment == "M7":
        assert answer.status_code == 409, answer.text
        run.recovered()
        return
    job = run.rig.wait_for_state(job_id, "cancelled", "succeeded", seconds=60)
    run.recovered(GRACE_SECONDS + 5)
    assert job["state"] == "cancelled" or run.moment == "M6"
    assert not run.rig.processes(job_id)


def pause(run: Run) -> None:
    answer = _wish(run, "pause")
    job_id = run.job_id
    if run.moment in ("M6", "M7"):  # the end is stored already
        assert answer.status_code == 409, answer.text
        run.recovered()
        run.succeeds(attempts=1)
        return
    run.rig.wait_for_state(job_id, "paused", seconds=60)
    run.recovered(GRACE_SECONDS + 5)
    assert not run.rig.processes(job_id)
    assert run.rig.strikes(job_id) == 0
    run.rig.http.post(f"/v1/jobs/{job_id}/resume").raise_for_status()
    run.succeeds()


# The wall clock


def clock_forward(run: Run) -> None:
    _jump(run, "+3600")


def clock_back(run: Run) -> None:
    _jump(run, "-3600")


def _jump(run: Run, offset: str) -> None:
    """API, workers and trainings on libfaketime, whose clock jumps by an hour at the moment."""
    rig = run.rig
    clock = rig.home / "clock"
    clock.write_text("+0\n")
    before = dict(rig.env)
    rig.env |= {
        "LD_PRELOAD": str(library()),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    try:
        _restart(rig)
        run.reach()
        clock.write_text(f"{offset}\n")
        time.sleep(2)
        run.clock()
        run.release()
        run.succeeds(attempts=1)
        run.recovered()
    finally:
        rig.env = before
        _restart(rig)


def library() -> Path:
    """Where libfaketime is.

    Raises:
        FileNotFoundError: it is not installed.
    """
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if not found:
        raise FileNotFoundError("libfaketime is not installed: apt-get install faketime")
    return found[0]


def _restart(rig: Rig) -> None:
    for name in ("api", *rig.workers):
        if rig.is_up(name):
            rig.kill_worker(name, tree=True)
    rig.start_api()
    for name in rig.workers:
        rig.start_worker(name)


# All at once


def mix(run: Run) -> None:
    """As many jobs and faults as the run says: processes killed and stopped, connections cut, jobs cancelled."""
    rig, random = run.rig, run.random
    jobs, faults = run.mix
    accepted: list[str] = []
    struck = 0
    done = threading.Event()

    def users() -> None:
        while len(accepted) < jobs:
            if len(accepted) > 5 + jobs * struck // faults:  # some wait at any time, and no fault meets an idle stack
                time.sleep(0.1)
                continue
            with contextlib.suppress(AssertionError, httpx.HTTPError):
                accepted.append(run.submit())
                if random.random() < 0.1:
                    action = random.choice(("cancel", "pause"))
                    rig.http.post(f"/v1/jobs/{accepted[-1]}/{action}")
            time.sleep(0.2)
        done.set()

    thread = threading.Thread(target=users, daemon=True)
    thread.start()
    run.clock()
    actions = [_kill_a_worker, _stop_a_worker, _kill_api, _kill_redis, _cut, _ring, _kill_a_rank, _hole]
    for _ in range(faults):
        random.choice(actions)(run)
        struck += 1
        time.sleep(random.uniform(0.1, 1.0))
    rig.repair()
    done.wait(60 + jobs)

    def over() -> bool:
        with contextlib.suppress(httpx.HTTPError):
            for job_id in run.accepted:
                state = rig.job(job_id)["state"]
                if state == "paused":
                    rig.http.post(f"/v1/jobs/{job_id}/resume")
                if state not in ("succeeded", "failed", "cancelled"):
                    return False
            return True
        return False

    until(over, "all jobs to end", 60 + 6 * jobs)
    run.recovered()


def _kill_a_worker(run: Run) -> None:
    name = run.random.choice(run.rig.workers)
    if run.rig.is_up(name):
        run.rig.kill_worker(name, tree=run.random.random() < 0.5)
    run.rig.start_worker(name)


def _stop_a_worker(run: Run) -> None:
    import psutil

    process = psutil.Process(run.rig.running[run.random.choice(run.rig.workers)].pid)
    with contextlib.suppress(psutil.NoSuchProcess):
        process.suspend()
        time.sleep(run.random.uniform(0.5, 8))
        process.resume()


def _kill_api(run: Run) -> None:
    run.rig.kill("api")
    run.rig.start_api()


def _kill_redis(run: Run) -> None:
    run.rig.kill("valkey")
    run.rig.start_redis(keep_data=run.random.random() < 0.5)


def _cut(run: Run) -> None:
    run.random.choice((run.rig.to_api, run.rig.to_redis)).cut()


def _hole(run: Run) -> None:
    proxy = run.random.choice((run.rig.to_api, run.rig.to_redis))
    run.random.choice((proxy.half_open, proxy.black_hole))()
    time.sleep(run.random.uniform(0.5, 8))
    proxy.heal()
    proxy.cut()


def _ring(run: Run) -> None:
    run.rig.ring(20)


def _kill_a_rank(run: Run) -> None:
    for job_id in run.accepted[-20:]:
        for process in run.rig.processes(job_id):
            with contextlib.suppress(Exception):
                process.kill()
                return
