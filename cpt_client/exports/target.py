"""What an export asks of a tool."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cpt_client.exports.rows import Row
from cpt_client.models import Job


class ExportError(Exception):
    """The tool, or the place it writes to, cannot be used; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Marks:
    """How much of a job a tool has."""

    steps: int = 0
    """Steps: those with a lower index are there."""
    evaluations: int = -1
    """Steps completed at the last evaluation that is there; -1: none is."""
    is_complete: bool = False
    """Whether the job's end is there, after which nothing comes."""

    def after(self, rows: Sequence[Row]) -> Marks:
        """The marks once these rows are there."""
        steps = [row.step + 1 for row in rows if row.kind == "step"]
        evaluations = [row.step for row in rows if row.kind == "evaluation"]
        return Marks(max([self.steps, *steps]), max([self.evaluations, *evaluations]), self.is_complete)


class Run(Protocol):
    """A job in a tool. One export writes to it at a time."""

    marks: Marks
    """What is there; true even if everything breaks off."""
    place: str
    """Where it is, for people."""

    def write(self, rows: Sequence[Row]) -> None:
        """Add rows, in the order of steps, none of them below the marks."""

    def finish(self, job: Job, result: Row | None) -> None:
        """The job has ended; nothing comes after this but `close`."""

    def close(self) -> None:
        """Let go of it, so that a later export can go on."""


class Target(Protocol):
    """A tool and the place in it."""

    def open(self, job: Job) -> Run:
        """The job's run, made if it is not there.

        Raises:
            ExportError: the place cannot be used, or another export writes to this run.
            MissingPartError: the tool's library is not installed.
        """


def folder_name(job: Job) -> str:
    """A name for the job's folder: readable, one of its own, and leading nowhere else."""
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", job.name)[:60].strip(".-")
    return f"{readable}-{job.id}" if readable else job.id


def locked(path: Path) -> contextlib.ExitStack:
    """Hold the file as the only export that does, until the answer is closed. The lock goes with the process.

    Raises:
        ExportError: another one holds it, or it cannot be made.
    """
    holding = contextlib.ExitStack()
    holding.enter_context(_lock(path))
    return holding


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    import fcntl  # here, since the client also runs where there is none

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a")
    except OSError as error:
        raise ExportError(f"{path.parent} cannot be written to: {error.strerror}; choose another folder") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ExportError(f"another export writes to {path.parent}: let it end, or choose another folder") from None
        yield


def write_whole(path: Path, content: str) -> None:
    """Write a file that appears complete or not at all."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
