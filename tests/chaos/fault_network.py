"""Redis, the API and the database go away, and the connections to them."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import redis
from httpx_sse import connect_sse

from tests.chaos.rig import BLIND_SECONDS, LEASE_SECONDS, SWEEP_SECONDS
from tests.chaos.run import Run, document
from tests.e2e.stack import until

AWAY = (8.0, 40.0, 150.0)
"""Seconds that a service is away: in most runs, in every fifth, and in the fifth of each cell."""


def _away(run: Run) -> float:
    if run.seed == 4:
        return AWAY[2]
    return AWAY[1] if run.seed % 5 == 1 else AWAY[0]


# Redis


def redis_killed(run: Run) -> None:
    def fault() -> None:
        run.rig.kill("valkey")
        run.rig.start_redis()

    _without_redis(run, fault)


def redis_flushed(run: Run) -> None:
    def fault() -> None:
        with redis.Redis.from_url(run.rig.redis_url) as client:
            client.flushall()

    _without_redis(run, fault)


def redis_away(run: Run) -> None:
    def fault() -> None:
        run.rig.kill("valkey")
        run.release()
        time.sleep(_away(run))
        run.rig.start_redis()

    _without_redis(run, fault)


def _without_redis(run: Run, fault: Callable[[], None]) -> None:
    run.reach()
    waits = run.submit() if run.moment != "M0" else ""
    fault()
    run.clock()
    run.release()
    if waits:
        until(lambda: run.rig.job(waits)["attempt"] >= 1, "the waiting job to be claimed", 60)
    else:
        run.wait_attempt(1)
    run.recovered(SWEEP_SECONDS + 5)
    run.succeeds(attempts=1)
    if waits:
        assert run.rig.wait_for_state(waits, "succeeded")["attempt"] == 1


def redis_half_open(run: Run) -> None:
    _deaf_to_redis(run, run.rig.to_redis.half_open)


def redis_black_hole(run: Run) -> None:
    def hole() -> None:
        run.rig.to_redis.black_hole()
        healing = threading.Timer(run.random.uniform(5, 25), run.rig.to_redis.heal)
        healing.start()

    _deaf_to_redis(run, hole)


def _deaf_to_redis(run: Run, fault: Callable[[], None]) -> None:
    if run.moment == "idle":
        fault()
        run.clock()
        run.job_id = run.submit()
        run.wait_attempt(1, 90)
    else:
        run.reach()
        fault()
        run.clock()
        waits = run.submit()
        run.release()
        until(lambda: run.rig.job(waits)["attempt"] >= 1, "the waiting job to be claimed", 90)
    run.recovered(60)
    run.succeeds(attempts=1)
    if run.moment != "idle":
        assert run.rig.wait_for_state(waits, "succeeded")["attempt"] == 1
    run.rig.to_redis.heal()


# Worker and API


def api_half_open(run: Run) -> None:
    run.reach()
    run.rig.to_api.half_open()
    run.clock()
    run.release()
    run.succeeds(attempts=1)
    run.recovered()


def api_hole_short(run: Run) -> None:
    run.reach()
    run.rig.to_api.black_hole()
    time.sleep(run.random.uniform(0.2, BLIND_SECONDS / 3))
    run.rig.to_api.heal()
    run.rig.to_api.cut()  # as a router that comes back does: what was swallowed is not delivered any more
    run.clock()
    run.release()
    run.succeeds(attempts=1)
    run.recovered()


def api_hole_long(run: Run) -> None:
    rig, job_id = run.rig, run.reach()
    rig.to_api.black_hole()
    until(lambda: not rig.processes(job_id, 1), "the blind worker to stop its tree", LEASE_SECONDS + 10)
    run.release()
    if run.moment != "M6":
        lost = LEASE_SECONDS + 15
        until(lambda: run.job()["state"] == "queued", "the attempt to be ended", lost)
    rig.to_api.heal()
    run.clock()
    if run.moment != "M6":
        run.wait_attempt(2)
        run.recovered()
    run.succeeds(attempts=1 if run.moment == "M6" else 2)
    run.recovery = run.recovery or run.recovered()


# The API


def api_killed(run: Run) -> None:
    rig, job_id = run.rig, run.reach()
    with _follower(run) as seen:
        rig.kill("api")
        run.release()
        rig.start_api()
        run.clock()
        if run.moment == "M0":
            again = run.post(document(run.ranks))
            assert again.status_code in (200, 201), again.text
            assert again.json()["id"] == job_id, "the resubmit made another job"
        run.succeeds(attempts=1)
        run.recovered()
        until(lambda: seen and seen[-1] == "end", "the stream to end", 30)
    assert seen[:-1] == list(range(1, len(seen))), f"the stream has a gap or a repeat: {seen}"


@contextlib.contextmanager
def _follower(run: Run) -> Iterator[list[Any]]:
    """Positions of what a client sees that follows the job and reconnects; the last is "end"."""
    seen: list[Any] = []
    stop = threading.Event()

    def follow() -> None:
        with httpx.Client(base_url=run.rig.url, timeout=20) as client:
            while not stop.is_set() and "end" not in seen:
                with contextlib.suppress(httpx.HTTPError):
                    _read(client, run.job_id, seen)
                stop.wait(0.1)

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join(30)


def _read(client: httpx.Client, job_id: str, seen: list[Any]) -> None:
    headers = {"Last-Event-ID": str(seen[-1])} if seen else {}
    with connect_sse(client, "GET", f"/v1/jobs/{job_id}/stream", headers=headers) as source:
        for event in source.iter_sse():
            if event.event == "end":
                seen.append("end")
                return
            if event.data:
                seen.append(int(event.id))


# The database


def database_killed(run: Run) -> None:
    """PostgreSQL is killed and recovers. SQLite has no process: what is killed is one that holds its lock."""
    run.reach()
    if run.rig.database == "postgresql":
        run.rig.kill_database()
        run.rig.start_database()
    else:
        with run.rig.database_locked():
            time.sleep(1)
    run.clock()
    run.release()
    run.succeeds(attempts=1)
    run.recovered()


def database_away(run: Run) -> None:
    rig, _ = run.rig, run.reach()
    away = max(_away(run), LEASE_SECONDS + 5)
    if rig.database == "postgresql":
        rig.kill_database()
        answer = _asks_in_vain(run)
        run.release()
        time.sleep(away)
        rig.start_database()
    else:
        with rig.database_locked():
            answer = _asks_in_vain(run)  # takes as long as SQLite waits for a lock
            run.release()
            time.sleep(max(0, away - 10))
    run.clock()
    assert answer.status_code == 503, answer.text
    assert answer.headers["Retry-After"]
    run.succeeds(attempts=1)
    run.recovered()


def _asks_in_vain(run: Run) -> httpx.Response:
    with httpx.Client(base_url=run.rig.url, timeout=40) as client:
        return client.post("/v1/jobs", json=document())
