"""Small runs: in this process as a group of one, and as real ranks under the launcher."""

import gzip
import struct
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from cpt_core.events import Finished, parse
from cpt_core.run import Run
from cpt_core.spec import JobSpec
from cpt_core.train.attempt import StopRequest, attempt
from cpt_core.train.ranks import join
from cpt_core.train.recorder import ignore
from cpt_core.train.trainer import Trainer


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)


def make_spec(**parts):
    """Eight steps of 8 of the 64 images in `small`, two precision cycles, a checkpoint after every third step."""
    document = {
        "model": {"name": "resnet8"},
        "dataset": {"name": "idx", "path": "small"},
        "precision": {"schedule": "cosine", "min_bits": 3, "max_bits": 8, "cycles": 2},
        "training": {"steps": 8, "batch_size": 8},
        "evaluation": {"batch_size": 16},
        "checkpoint": {"every_steps": 3},
    }
    return JobSpec.model_validate(document | parts)


class Here:
    """Runs in this process, one after the other, with a storage of their own."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.data_root = folder / "data"
        write_idx_dataset(self.data_root / "small")
        self.storage = str(folder / "storage")

    def run(self, spec, *, name="run", resume=None, **settings):
        """What the ranks of a run are told."""
        return Run(
            spec=spec,
            events=self.folder / "unused",
            storage=self.storage,
            checkpoints=name,
            best=f"{name}-best",
            data_root=self.data_root,
            resume=resume,
            **settings,
        )

    def train(self, spec, *, stop=None, **options):
        """The exit code and the events of a run."""
        events = []
        code = attempt(self.run(spec, **options), events.append, stop or StopRequest())
        _part()
        return code, events

    @contextmanager
    def trainer(self, spec):
        """What trains, before its first step."""
        yield Trainer(self.run(spec), join("cpu"), ignore, lambda: False)
        _part()


def _part():
    if torch.distributed.is_initialized():  # after a failure too: a real rank would be gone
        torch.distributed.destroy_process_group()


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.setattr("signal.signal", lambda *_: None)  # the signals are pytest's
    return Here(tmp_path)


class Launched:
    """A run under the launcher, in processes of its own."""

    def __init__(self, folder: Path, spec: JobSpec, *, storage: Path, name: str, resume=None):
        write_idx_dataset(folder / "small")
        self.events_file, self.logs = folder / "events.jsonl", folder / "logs"
        run = Run(
            spec=spec,
            events=self.events_file,
            storage=str(storage),
            checkpoints=name,
            best=f"{name}-best",
            data_root=folder,
            resume=resume,
        )
        run_file = folder / "run.json"
        run_file.write_text(run.model_dump_json())
        command = [sys.executable, "-m", "cpt_core.launch", str(run_file), "--log-dir", str(self.logs)]
        self.process = subprocess.Popen(
            [*command, "--nproc", str(spec.resources.devices), "--id", f"{name}-{folder.name}"]
        )

    def events(self):
        """What rank 0 has written so far."""
        if not self.events_file.exists():
            return []
        return [parse(line) for line in self.events_file.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]

    def finished(self):
        """The exit code and the events, when it has ended."""
        return self.process.wait(timeout=200), self.events()


def wait_for(condition, *, seconds=120):
    """Poll until the condition gives something, and return that."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError("it did not come about")


def all_gone(processes):
    return all(not process.is_running() or process.status() == psutil.STATUS_ZOMBIE for process in processes)


@pytest.fixture
def launched(tmp_path):
    """Starts runs, and leaves none behind."""
    runs = []

    def start(name, spec, resume=None):
        run = Launched(tmp_path / name, spec, storage=tmp_path / "storage", name=name, resume=resume)
        runs.append(run)
        return run

    yield start
    for run in runs:
        run.process.kill()
        run.process.wait()


def write_idx(path: Path, array: np.ndarray) -> None:
    """An idx file of unsigned bytes, gzipped if its name says so."""
    content = bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.astype("u1").tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def write_idx_dataset(folder: Path, *, images=64, side=28, classes=10, suffix="") -> None:
    """A dataset of noise in the four files of MNIST; the test split has half as many images."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.RandomState(0)
    for prefix, count in (("train", images), ("t10k", images // 2)):
        write_idx(folder / f"{prefix}-images-idx3-ubyte{suffix}", random.randint(0, 256, (count, side, side)))
        write_idx(folder / f"{prefix}-labels-idx1-ubyte{suffix}", np.arange(count) % classes)


def only_end(events) -> Finished:
    """The last event, which alone is a `finished`."""
    assert [event.type for event in events].count("finished") == 1
    assert isinstance(events[-1], Finished)
    return events[-1]
