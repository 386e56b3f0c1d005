"""A real API process on SQLite, and what plays its other peers: an agent that speaks the protocol, a bad network."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from cpt_client import Client
from cpt_client.embedded.stack import free_port
from cpt_client.models import Job
from cpt_core import events
from cpt_core.protocol import Assignment

SPEC: dict[str, Any] = {
    "name": "digits",
    "model": {"name": "resnet8"},
    "dataset": {"name": "digits"},
    "precision": {"schedule": "cosine", "min_bits": 3, "max_bits": 8, "cycles": 2},
    "training": {"steps": 20, "batch_size": 32},
}

NOWHERE = "redis://127.0.0.1:1/0"
"""No broker: doorbells are lost, and streams look once a second."""


def wait_for(condition: Callable[[], Any], what: str, seconds: float = 60.0) -> Any:
    """The first true answer of `condition`; fails when there is none in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError(f"not in {seconds} s: {what}")


class Api:
    """`python -m api` on a SQLite file."""

    def __init__(self, folder: Path, **env: str) -> None:
        self.port = free_port(0)
        self.url = f"http://127.0.0.1:{self.port}"
        self.token = secrets.token_urlsafe(32)
        self.env = (
            os.environ
            | {
                "CPT_DATABASE_URL": f"sqlite:///{folder / 'cpt.db'}",
                "CPT_BROKER_URL": NOWHERE,
                "CPT_AGENT_TOKEN": self.token,
                "CPT_PORT": str(self.port),
                "CPT_STORAGE_URL": str(folder / "storage"),
                "CPT_AUTH": "off",
                "CPT_WEBHOOK_NETWORKS": "127.0.0.0/8",
            }
            | env
        )
        self.storage = folder / "storage"
        self._log = (folder / "api.log").open("ab")
        subprocess.run([sys.executable, "-m", "api", "migrate"], env=self.env, check=True, stderr=self._log)
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen([sys.executable, "-m", "api"], env=self.env, stderr=self._log)
        wait_for(self._is_ready, "the API is ready")

    def _is_ready(self) -> bool:
        assert self.process.poll() is None, "the API has ended"
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"{self.url}/readyz", trust_env=False).status_code == 200
        return False

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        self.kill()
        self._log.close()


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    api = Api(tmp_path_factory.mktemp("api"))
    yield api
    api.close()


@pytest.fixture
def client(api: Api) -> Iterator[Client]:
    with Client(api.url) as client:
        yield client


class Agent:
    """Holds one attempt at one job, as a worker does, and reports what the test tells it to."""

    def __init__(self, api: Api, queue: str) -> None:
        body = {"claim_id": secrets.token_hex(16), "worker": "test", "queue": queue, "device": "cpu", "devices": 2}
        headers = {"Authorization": f"Bearer {api.token}"}
        reply = httpx.post(f"{api.url}/v1/agent/claim", json=body, headers=headers, trust_env=False)
        assert reply.status_code == 200, reply.text
        self.assignment = Assignment.model_validate_json(reply.content)
        self._url = f"{api.url}/v1/agent/jobs/{self.assignment.job_id}/attempts/{self.assignment.attempt}/records"
        self._sent = 0

    def report(self, *records: events.AnyEvent) -> str:
        """Append the records; answers the API's command."""
        body = {"first_seq": self._sent + 1, "records": [r.model_dump(mode="json") for r in records]}
        headers = {"Authorization": f"Bearer {self.assignment.token}"}
        reply = httpx.post(self._url, json=body, headers=headers, trust_env=False)
        assert reply.status_code == 200, reply.text
        self._sent += len(records)
        return str(reply.json()["command"])

    def train(self, first: int, last: int) -> None:
        """Report the steps from `first` up to, without, `last`."""
        self.report(*(step(index) for index in range(first, last)))


def started() -> events.Started:
    return events.Started(
        resume_step=0,
        steps=20,
        world_size=1,
        device="cpu",
        parameters=78_000,
        macs=12_500_000,
        energy=events.EnergySource(source=None, reason="no [red]RAPL[/red] here"),
    )


def step(index: int) -> events.StepDone:
    return events.StepDone(
        step=index,
        epoch=0,
        forward_bits=3 + index % 6,
        backward_bits=8,
        loss=2.3 - 0.1 * index,
        accuracy=0.04 * index,
        lr=0.1,
        samples_per_second=640.0,
        gbitops=10.0 * (index + 1),
        modelled_joules=0.5 * (index + 1),
    )


def evaluation() -> events.Evaluation:
    return events.Evaluation(step=20, bits=8, samples=360, loss=0.2, accuracy=0.95)


def checkpoint(path: str) -> events.Checkpoint:
    return events.Checkpoint(step=20, path=path, sha256="0" * 64, size=1_234_567)


def succeeded(path: str) -> events.Finished:
    result = events.Result(
        accuracy=0.95,
        loss=0.2,
        bits=8,
        steps=20,
        samples=640,
        gbitops=200.0,
        gbitops_static=316.0,
        gbitops_fp32=4000.0,
        modelled_joules=10.0,
        samples_per_second=640.0,
        checkpoint=path,
    )
    return events.Finished(outcome="succeeded", reason="completed", message="trained to the last step", result=result)


def failed() -> events.Finished:
    message = "the loss became [bold]NaN[/bold] at step 7: lower optimizer.lr"
    return events.Finished(outcome="failed", reason="diverged", message=message)


def submit(client: Client, queue: str, **changes: Any) -> Job:
    """A job in a queue of its own, so that only the test's agent finds it."""
    return client.submit(SPEC | {"resources": {"queue": queue}} | changes)


def run_to_success(client: Client, api: Api, queue: str) -> Job:
    """A job that has trained its 20 steps, with every kind of event in its log."""
    job = submit(client, queue)
    agent = Agent(api, queue)
    agent.report(started(), events.Log(level="warning", message="slow [blink]disk[/blink]\x1b[31m"))
    agent.train(0, 20)
    agent.report(evaluation(), checkpoint(f"checkpoints/{job.id}/1/20"), succeeded(f"checkpoints/{job.id}/1/20"))
    return client.get(job.id)


class BadNetwork:
    """A TCP relay in front of the API that cuts each connection after so many bytes of the answer.

    `budgets` are taken in turn, one a connection; None, and everything after the last, is not cut.
    """

    def __init__(self, port: int, budgets: list[int | None]) -> None:
        self._target, self._budgets = port, list(budgets)
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _address = self._listener.accept()
                self.connections += 1
                far = socket.create_connection(("127.0.0.1", self._target))
                budget = self._budgets.pop(0) if self._budgets else None
                threading.Thread(target=self._relay, args=(near, far, None), daemon=True).start()
                threading.Thread(target=self._relay, args=(far, near, budget), daemon=True).start()

    @staticmethod
    def _relay(source: socket.socket, sink: socket.socket, budget: int | None) -> None:
        with contextlib.suppress(OSError):
            while budget is None or budget > 0:
                data = source.recv(65_536 if budget is None else budget)
                if not data:
                    break
                sink.sendall(data)
                budget = None if budget is None else budget - len(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


@pytest.fixture
def bad_network(api: Api) -> Iterator[Callable[..., BadNetwork]]:
    relays: list[BadNetwork] = []

    def make(*budgets: int | None) -> BadNetwork:
        relays.append(BadNetwork(api.port, list(budgets)))
        return relays[-1]

    yield make
    for relay in relays:
        relay.close()
