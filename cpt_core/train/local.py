"""A run on this machine without any server: what `cpt train` does. No torch in this process."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from cpt_core import launch
from cpt_core.carbon import WORLD_AVERAGE
from cpt_core.checkpoint import CheckpointError, describe, prune
from cpt_core.events import AnyEvent, Checkpoint, Finished, Log, parse
from cpt_core.lifecycle import Reason
from cpt_core.run import Run
from cpt_core.spec import JobSpec
from cpt_core.train.recorder import Emit, Recorder, ignore

_POLL_SECONDS = 0.2


def train(
    spec: JobSpec,
    *,
    storage: Path,
    data_root: Path,
    events: Path | None = None,
    resume: Path | None = None,
    grid_gco2e_per_kwh: float = WORLD_AVERAGE,
    on_event: Emit = ignore,
) -> int:
    """Train a spec to its end with `spec.resources.devices` processes. Call it from the main thread.

    SIGTERM and SIGINT (Ctrl-C) stop it after the current step with a checkpoint; a second one ends it at once.

    Args:
        spec: what to train.
        storage: folder for checkpoints; the run's are in a folder of its own below `checkpoints/` there.
        data_root: folder below which datasets lie.
        events: file to append the events to, one JSON object a line.
        resume: folder of the checkpoint to continue from, below `storage`.
        grid_gco2e_per_kwh: grams of CO2-equivalent per kWh of the electricity here, 0 to 2000.
        on_event: called with each event, after it was appended.

    Returns:
        0 if it succeeded or was stopped on request, else 1.

    Raises:
        CheckpointError: there is no complete checkpoint in `resume`.
        OSError: `events` or `storage` cannot be written.
    """
    storage = storage.resolve()
    storage.mkdir(parents=True, exist_ok=True)
    resume_from = None if resume is None else _registered(storage, resume)
    record = ignore if events is None else Recorder(events)

    def emit(event: AnyEvent) -> None:
        record(event)
        on_event(event)

    run_id = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{os.getpid()}"
    with tempfile.TemporaryDirectory(prefix="cpt-train-") as temporary:
        folder = Path(temporary)
        run = Run(
            spec=spec,
            events=folder / "events",
            storage=str(storage),
            checkpoints=f"checkpoints/{run_id}",
            best=f"checkpoints/{run_id}/best",
            data_root=data_root.resolve(),
            cache=storage / "cache",
            resume=resume_from,
            grid_gco2e_per_kwh=grid_gco2e_per_kwh,
        )
        run_file = folder / "run.json"
        run_file.write_text(run.model_dump_json(), encoding="utf-8")
        logs, launcher_log = folder / "logs", folder / "launcher.log"
        command = launch.command(run_file, nproc=spec.resources.devices, run_id=run_id, log_dir=logs)
        finished = _follow(command, launcher_log, run, emit)
        if finished is None:
            message = launch.failure(logs) or f"Training could not be started. {launch.tail(launcher_log)}"
            finished = Finished(outcome="failed", reason=Reason.RANK_FAILED, message=message)
            emit(finished)
    return 0 if finished.outcome in ("succeeded", "preempted") else 1


def _registered(storage: Path, folder: Path) -> Checkpoint:
    path = folder.resolve()
    if not path.is_relative_to(storage):
        raise CheckpointError(f"{folder} is not below the storage {storage}: set the storage it was written to.")
    return describe(str(storage), str(path.relative_to(storage)))


def _follow(command: list[str], log: Path, run: Run, emit: Emit) -> Finished | None:
    """Start the ranks, pass on their events and delete superseded checkpoints. Returns the last event, if it came."""
    finished, checkpoints = None, list[str]()
    for event in _events(command, log, run.events):
        emit(event)
        if isinstance(event, Finished):
            finished = event
        elif isinstance(event, Checkpoint):
            checkpoints.append(event.path)
            superseded = checkpoints[: -run.spec.checkpoint.keep_last]
            try:
                prune(run.storage, superseded)
            except CheckpointError as error:
                emit(Log(level="warning", message=str(error)))
            del checkpoints[: len(superseded)]
    return finished


def _events(command: list[str], log: Path, fifo: Path) -> Iterator[AnyEvent]:
    """Run the command and yield what it writes to the FIFO, until it has ended and all is read."""
    os.mkfifo(fifo, 0o600)
    # Opened for writing too: then there is no end of file, and rank 0's open never waits.
    descriptor = os.open(fifo, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    # A session of its own: Ctrl-C reaches it through us alone.
    with log.open("wb") as output:
        process = subprocess.Popen(command, start_new_session=True, stdin=subprocess.DEVNULL, stderr=output)
    partial = b""
    try:
        with _stopped_by_signals(process):
            while True:
                ended = process.poll() is not None  # asked first: what it wrote until then is read below
                if select.select([descriptor], [], [], 0 if ended else _POLL_SECONDS)[0]:
                    *lines, partial = (partial + os.read(descriptor, 2**16)).split(b"\n")
                    yield from map(parse, lines)
                elif ended:
                    return
    finally:
        process.kill()  # in case of an error here; the ranks die with it
        process.wait()
        os.close(descriptor)


@contextmanager
def _stopped_by_signals(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """SIGINT and SIGTERM reach the process as SIGTERM; a second one kills it."""
    stop: list[Callable[[], None]] = [process.kill, process.terminate]

    def handle(_signum: int, _frame: FrameType | None) -> None:
        (stop.pop() if len(stop) > 1 else stop[0])()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
