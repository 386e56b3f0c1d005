"""Streams of a real server: everything once and in order, whoever comes and goes, however slow."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import httpx
import pytest
import uvicorn
from httpx_sse import connect_sse
from pydantic import SecretStr
from sqlalchemy import update

from api.agent import service as agent
from api.app import create_app
from api.db import Database
from api.deps import Services
from api.hub import PROJECT_INTERVAL
from api.jobs import control
from api.jobs import service as jobs
from api.jobs.models import Job
from api.keys import service as keys
from api.keys.models import ApiKey
from api.keys.schemas import NewKey, Scope
from api.log import service
from api.log.feed import Batch, Feed
from api.logs import service as logs
from api.problems import ApiError
from api.projects import service as projects
from api.projects.schemas import NewProject
from api.server import Server
from api.settings import ApiSettings
from cpt_core.events import now
from cpt_core.protocol import AppendRequest, Assignment, ClaimRequest
from tests.api.factories import checkpoint, run_to_the_end, spec, spec_document, started, step, succeeded

Message = tuple[int | None, str, Any]


def wait_for(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


class Running:
    """An API process's server in a thread, and a worker's side of it."""

    def __init__(self, url: str, auth: Literal["off", "keys"] = "off") -> None:
        settings = ApiSettings(
            database_url=SecretStr(url),
            broker_url=SecretStr("redis://127.0.0.1:1/0"),
            agent_token=SecretStr("an-agent-token-for-tests"),
            auth=auth,
            sweep_seconds=60,
        )
        app = create_app(settings)
        self.services: Services = app.state.services
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = self._socket.getsockname()
        self.url = f"http://{self.address[0]}:{self.address[1]}"
        self.server = Server(uvicorn.Config(app, log_config=None), self.services.hub)
        self._thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self._socket]})
        self._thread.start()
        wait_for(lambda: self.server.started)

    def stop(self) -> None:
        self.server.should_exit = True
        self._thread.join(20)
        assert not self._thread.is_alive()

    def submit(self, project: str = "default") -> str:
        made = jobs.create(self.services.database, project, spec(), None)[0].id
        self.services.changed(made)
        return made

    def claim(self) -> Assignment:
        claim_id = f"{random.getrandbits(128):032x}"
        request = ClaimRequest(claim_id=claim_id, worker="w", queue="default", device="cpu", devices=2)
        found = agent.claim(self.services.database, request, 30)
        assert found
        self.services.changed(found.job_id)
        return found

    def append(self, held: Assignment, first_seq: int, *records: Any) -> None:
        request = AppendRequest(first_seq=first_seq, records=list(records))
        agent.append(self.services.database, held.job_id, held.attempt, held.token, request)
        self.services.changed(held.job_id)

    def listen(
        self, path: str, last: int | None = None, key: dict[str, str] | None = None, **params: Any
    ) -> Iterator[Message]:
        headers = (key or {}) | ({} if last is None else {"Last-Event-ID": str(last)})
        with (
            httpx.Client(base_url=self.url, trust_env=False, timeout=30) as http,
            connect_sse(http, "GET", path, headers=headers, params=params) as source,
        ):
            assert source.response.status_code == 200, source.response.read()
            for event in source.iter_sse():
                if event.data:
                    yield int(event.id) if event.id else None, event.event, json.loads(event.data)

    @property
    def listeners(self) -> int:
        return self.services.hub.listeners


@pytest.fixture
def running(database_url: str) -> Iterator[Running]:
    started = Running(database_url)
    yield started
    started.stop()


@pytest.fixture
def job(running: Running) -> str:
    return running.submit()


def test_listeners_that_join_and_leave_while_the_log_grows_get_every_entry_once(running: Running, job: str) -> None:
    held = running.claim()
    count = 150

    def follow(seed: int) -> list[int | None]:
        chance, seen = random.Random(seed), []
        last = 0
        while True:
            for position, kind, _ in running.listen(f"/v1/jobs/{job}/stream", last):
                if kind == "end":
                    return seen
                seen.append(position)
                last = position or last
                if chance.random() < 0.03:  # the connection is lost
                    break

    with ThreadPoolExecutor(6) as pool:
        followers = [pool.submit(follow, seed) for seed in range(6)]
        running.append(held, 1, started(steps=100_000))
        for index in range(count):
            running.append(held, 2 + index, step(index))
        running.append(held, 2 + count, checkpoint(20), succeeded())
        logs = [follower.result(60) for follower in followers]
    length = len(list(running.listen(f"/v1/jobs/{job}/stream"))) - 1
    assert length > count
    assert logs == [list(range(1, length + 1))] * 6


def test_a_listener_that_the_feed_has_forgotten_reads_on_from_the_database(
    running: Running, job: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.log.feed.RING_ENTRIES", 3)
    held = running.claim()
    log = running.listen(f"/v1/jobs/{job}/stream")
    got = [next(log), next(log)]
    records = run_to_the_end()
    for size in range(0, len(records), 6):
        running.append(held, size + 1, *records[size : size + 6])
    got += log
    assert [position for position, kind, _ in got if kind != "end"] == list(range(1, len(got)))


def test_only_the_asked_types_are_sent_from_the_past_and_live(running: Running, job: str) -> None:
    held = running.claim()
    records = run_to_the_end()
    running.append(held, 1, *records[:5])
    log = running.listen(f"/v1/jobs/{job}/stream", types="started,checkpoint,finished")
    got = [next(log)]
    wait_for(lambda: running.services.hub._jobs)
    running.append(held, 6, *records[5:])
    got += log
    assert [kind for _, kind, _ in got] == ["started", "checkpoint", "finished", "end"]
    whole = [kind for _, kind, _ in running.listen(f"/v1/jobs/{job}/stream", types=["step", "state"])]
    assert set(whole) == {"step", "state", "end"}


def test_an_unknown_type_is_named(running: Running, job: str) -> None:
    answer = httpx.get(f"{running.url}/v1/jobs/{job}/stream", params={"types": "steps"}, trust_env=False)
    assert answer.status_code == 422
    (fault,) = answer.json()["errors"]
    assert (fault["parameter"], fault["code"]) == ("types", "unknown_type")
    assert "evaluation" in fault["message"]


def test_between_two_reads_is_as_much_time_again_as_the_listeners_have_taken() -> None:
    feed = Feed(0, lambda _position: Batch((), 0, more=False, end=None), interval=0.0, patience=lambda: 10.0)

    async def pause() -> float:
        asyncio.get_running_loop().call_soon(time.sleep, 0.2)  # they send
        began = time.monotonic()
        await feed._pause()
        return time.monotonic() - began

    assert asyncio.run(pause()) >= 0.39


def test_one_reader_serves_all_listeners_of_a_job(running: Running, job: str) -> None:
    logs = [running.listen(f"/v1/jobs/{job}/stream") for _ in range(5)]
    for log in logs:
        next(log)
    (feed,) = (feed for _ in [wait_for(lambda: _followed(running, 5))] for feed in running.services.hub._jobs.values())
    reads = []
    original = feed._read
    feed._read = lambda after: reads.append(after) or original(after)
    running.claim()
    assert [next(log)[1] for log in logs] == ["state"] * 5
    assert len(reads) <= 2  # one, and one of the wake-up that found nothing
    for log in logs:
        log.close()  # type: ignore[attr-defined]


def _followed(running: Running, count: int) -> bool:
    return [feed.listeners for feed in running.services.hub._jobs.values()] == [count]


def test_a_silent_stream_is_kept_alive(running: Running, job: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.log.feed.KEEP_ALIVE_SECONDS", 0.05)
    with (
        httpx.Client(trust_env=False) as http,
        http.stream("GET", f"{running.url}/v1/jobs/{job}/stream", params={"after": 1}) as answer,
    ):
        assert next(answer.iter_lines()) == ": keep-alive"


def test_a_client_that_leaves_is_noticed_and_its_feed_forgotten(running: Running, job: str) -> None:
    log = running.listen(f"/v1/jobs/{job}/stream")
    next(log)
    assert running.listeners == 1
    log.close()  # type: ignore[attr-defined]
    wait_for(lambda: running.listeners == 0 and not running.services.hub._running)


def test_a_listener_that_reads_nothing_is_dropped_and_can_go_on(
    running: Running, job: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.log.stream.SLOW_SECONDS", 0.3)
    held = running.claim()
    running.append(held, 1, started(steps=100_000))
    for start in range(0, 10_000, 1000):
        running.append(held, start + 2, *(step(index) for index in range(start, start + 1000)))
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect(running.address)
        slow.sendall(f"GET /v1/jobs/{job}/stream HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        wait_for(lambda: running.listeners == 1)
        wait_for(lambda: running.listeners == 0)
        received = b""
        slow.settimeout(20)
        while data := slow.recv(65536):
            received += data
    ids = [int(line[4:]) for line in received.split(b"\n")[:-1] if line.startswith(b"id: ")]
    assert 0 < len(ids) < 10_000
    with contextlib.closing(running.listen(f"/v1/jobs/{job}/stream", ids[-1])) as rest:  # type: ignore[type-var]
        assert next(rest)[0] == ids[-1] + 1


def test_a_reader_of_a_log_that_reads_nothing_is_dropped_and_can_go_on(
    running: Running, job: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.logs.endpoints.SLOW_SECONDS", 0.3)
    held, line, chunk = running.claim(), b"%07d" + b"." * 56 + b"\n", 2048
    for start in range(0, 32 * chunk, chunk):
        logs.append(
            running.services.database,
            job,
            held.attempt,
            held.token,
            rank=0,
            offset=64 * start,
            data=b"".join(line % number for number in range(start, start + chunk)),
            max_bytes=2**23,
        )
    waiting = running.services.hub._waiting
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect(running.address)
        slow.sendall(f"GET /v1/jobs/{job}/logs?follow=true HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n".encode())
        wait_for(lambda: waiting)
        wait_for(lambda: not waiting)
        received = b""
        slow.settimeout(20)
        while data := slow.recv(65536):
            received += data
    whole = re.findall(rb"\d{7}\.{56}\n", received)
    assert 0 < len(whole) < 32 * chunk
    rest = httpx.get(f"{running.url}/v1/jobs/{job}/logs", params={"offset": 64 * len(whole)}, trust_env=False)
    assert int(rest.text[:7]) == len(whole)


def test_a_stopping_server_ends_its_streams_cleanly_at_once(running: Running, job: str) -> None:
    log = running.listen(f"/v1/jobs/{job}/stream")
    next(log)
    wait_for(lambda: running.services.hub._jobs)
    stopping = threading.Thread(target=running.stop)
    began = time.monotonic()
    stopping.start()
    assert list(log) == [], "without `end`, and the connection is not cut"
    stopping.join()
    assert time.monotonic() - began < 2.5, "before uvicorn loses its patience, which is 3 s"


def test_a_project_stream_tells_of_every_job_that_changes(running: Running) -> None:
    log = running.listen("/v1/stream")
    assert next(log)[1] == "ready"
    first, second = running.submit(), running.submit()
    running.services.changed(first)
    seen: dict[str, str] = {}
    while set(seen) != {first, second}:
        _, kind, data = next(log)
        assert kind == "job"
        seen[data["id"]] = data["state"]
    held = running.claim()
    running.append(held, 1, *run_to_the_end())
    while seen[held.job_id] != "succeeded":
        _, _, data = next(log)
        seen[data["id"]] = data["state"]
    shown = httpx.get(f"{running.url}/v1/jobs/{held.job_id}", trust_env=False).json()
    assert data == shown
    log.close()  # type: ignore[attr-defined]


@pytest.fixture
def unasked(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    """A server whose streams do not look by themselves when they are not woken."""
    for name in ("api.hub.POLL_SECONDS", "api.hub.RECONNECT_SECONDS", "api.log.feed.KEEP_ALIVE_SECONDS"):
        monkeypatch.setattr(name, 3600.0)
    started = Running(sqlite_url)
    yield started
    started.stop()


def test_whatever_a_client_does_is_told_at_once(unasked: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    running = unasked
    looking = threading.Semaphore(0)
    changes = service.changes

    def counted(*args: Any, **options: Any) -> Batch:
        found = changes(*args, **options)
        looking.release()
        return found

    monkeypatch.setattr(service, "changes", counted)
    job = running.submit()
    log = running.listen("/v1/stream")
    assert next(log)[1] == "ready"
    for _ in range(2):  # the listener's look, and the first of the feed that it then follows
        assert looking.acquire(timeout=30)
    requests: dict[str, Any] = {f"jobs/{job}/{action}": {} for action in ("pause", "resume", "cancel", "archive")}
    requests |= {f"jobs/{job}/unarchive": {}, f"jobs/{job}/clone": {}, "jobs": spec_document()}
    requests["sweeps"] = {"spec": spec_document(), "overrides": [{"name": "a"}]}
    with httpx.Client(base_url=running.url, trust_env=False, timeout=30) as http:
        for path, body in requests.items():
            http.post(f"/v1/{path}", json=body).raise_for_status()
            assert next(log)[1] == "job", path
            while looking.acquire(timeout=2 * PROJECT_INTERVAL):  # all that this change has led to
                pass
    log.close()  # type: ignore[attr-defined]


def test_a_project_stream_taken_up_again_misses_no_change(running: Running) -> None:
    log = running.listen("/v1/stream")
    last = next(log)[0]
    log.close()  # type: ignore[attr-defined]
    ids = {running.submit() for _ in range(3)}
    log = running.listen("/v1/stream", last)
    assert next(log)[1] == "ready"
    assert {next(log)[2]["id"] for _ in ids} == ids
    log.close()  # type: ignore[attr-defined]


class KeyedServer:
    """A server that asks for keys, and the keys that were made for it."""

    def __init__(self, running: Running) -> None:
        self.running, self.database = running, running.services.database
        self.ids: dict[str, str] = {}

    def key(self, project: str) -> dict[str, str]:
        if project != "default":
            projects.create(self.database, NewProject(id=project, name=project))
        row, key = keys.create(self.database, project, NewKey(name=project, scope=Scope.READ))
        self.ids[project] = row.id
        return {"Authorization": f"Bearer {key}"}

    def end(self, project: str, how: str) -> None:
        """The project's key ends, as another process of the API may have it; then its streams are looked at."""
        with self.database.write() as session:
            change = {"revoked_at": now()} if how == "revoked" else {"expires_at": now()}
            session.execute(update(ApiKey).where(ApiKey.id == self.ids[project]).values(change))
        self.running.services.keys.forget()
        self.running.services.holders.tick()


@pytest.fixture
def keyed_server(database_url: str) -> Iterator[KeyedServer]:
    started = Running(database_url, auth="keys")
    yield KeyedServer(started)
    started.stop()


@pytest.mark.parametrize("how", ["revoked", "expired"])
@pytest.mark.parametrize("path", ["/v1/jobs/{job}/stream", "/v1/stream"])
def test_a_stream_ends_with_its_key(keyed_server: KeyedServer, path: str, how: str) -> None:
    running = keyed_server.running
    path = path.format(job=running.submit())
    key, other = keyed_server.key("default"), keyed_server.key("other")
    log, others = running.listen(path, key=key), running.listen("/v1/stream", key=other)
    assert next(log)
    assert next(others)
    running.services.holders.tick()
    assert running.listeners == 2, "a valid key ends nothing"
    keyed_server.end("default", how)
    assert [kind for _, kind, _ in log] == [], "closed cleanly, and without `end`"
    answer = httpx.get(running.url + path, headers=key, trust_env=False)
    assert (answer.status_code, answer.json()["code"]) == (401, "invalid_token")
    assert running.listeners == 1
    others.close()  # type: ignore[attr-defined]


def test_a_followed_log_ends_with_its_key(keyed_server: KeyedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.hub.POLL_SECONDS", 0.05)
    running = keyed_server.running
    url = f"{running.url}/v1/jobs/{running.submit()}/logs"
    key, wanted = keyed_server.key("default"), {"Accept": "application/x-ndjson"}
    with (
        httpx.Client(trust_env=False, timeout=30) as http,
        http.stream("GET", url, params={"follow": True}, headers=key | wanted) as answer,
    ):
        lines = answer.iter_lines()
        assert next(lines) == "", "nothing is printed"
        keyed_server.end("default", "revoked")
        assert set(lines) <= {""}


def test_a_project_stream_never_tells_of_another_projects_jobs(keyed_server: KeyedServer) -> None:
    running = keyed_server.running
    alpha, beta = keyed_server.key("alpha"), keyed_server.key("beta")
    past = {project: running.submit(project) for project in ("beta", "alpha")}
    logs = {
        "alpha": running.listen("/v1/stream", last=0, key=alpha),
        "beta": running.listen("/v1/stream", last=0, key=beta),
    }
    told = {project: [next(log), next(log)] for project, log in logs.items()}
    live = {project: running.submit(project) for project in ("beta", "alpha")}
    for project, log in logs.items():
        told[project].append(next(log))
        seen = [data["id"] for _, kind, data in told[project] if kind == "job"]
        assert seen == [past[project], live[project]]
        log.close()  # type: ignore[attr-defined]


def test_the_last_state_of_every_job_arrives_whatever_the_order_of_commits(running: Running) -> None:
    begin = next(iter(running.listen("/v1/stream")))[0]
    assert begin is not None
    seen: dict[str, int] = {}
    done = threading.Event()

    def follow() -> None:
        chance, last = random.Random(1), begin
        while True:
            over = done.is_set()
            batch = service.changes(running.services.database, "default", after=last)
            for entry in batch.entries:
                data = json.loads(entry.data.split(b"data: ", 1)[1])
                seen[data["id"]] = data["attempt"], data["state"]  # type: ignore[assignment]
            if chance.random() < 0.7:  # else the connection is lost before the id arrives
                last = batch.head
            elif over:
                continue
            if over and not batch.more:
                return

    def change(number: int) -> None:
        job = running.submit()
        if number % 2:
            running.append(running.claim(), 1, *run_to_the_end())
        elif number % 3:
            with contextlib.suppress(ApiError):  # another thread has run it
                control.cancel(running.services.database, "default", job)

    follower = threading.Thread(target=follow)
    follower.start()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(change, range(24)))
    done.set()
    follower.join(60)
    page = httpx.get(f"{running.url}/v1/jobs", params={"limit": 100}, trust_env=False).json()["data"]
    assert seen == {item["id"]: (item["attempt"], item["state"]) for item in page}


def test_a_change_that_commits_late_is_waited_for(database: Database) -> None:
    if database.engine.dialect.name == "sqlite":
        pytest.skip("there writers wait for each other")
    early, late = (jobs.create(database, "default", spec(), None)[0] for _ in range(2))
    after = service.now(database)
    seen: list[str] = []

    def look() -> int:
        nonlocal after
        batch = service.changes(database, "default", after=after)
        messages = [json.loads(entry.data.split(b"data: ", 1)[1])["message"] for entry in batch.entries]
        seen.extend(message for message in messages if message)
        after = batch.head
        return len(seen)

    with database.write() as session:
        session.execute(update(Job).where(Job.id == late.id).values(message="committed last"))
        with database.write() as other:
            other.execute(update(Job).where(Job.id == early.id).values(message="committed first"))
        assert look() == 0
    wait_for(lambda: look() == 2)  # the oldest transaction of the server, of any database, holds changes back
    assert seen == ["committed last", "committed first"]


def test_an_id_of_another_database_brings_all_jobs(database: Database) -> None:
    job = jobs.create(database, "default", spec(), None)[0]
    found = service.changes(database, "default", after=2**52)
    assert [entry.kind for entry in found.entries] == ["job"]
    assert job.id.encode() in found.entries[0].data
