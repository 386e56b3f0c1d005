"""TensorBoard: a folder of event files, one for each job, written by tensorboard's own library; no torch.

    FOLDER/NAME-JOB/events.out.tfevents.cpt    the rows
    FOLDER/NAME-JOB/cpt-export.json            how much of that is valid, and how far it goes

The second file is written after the first was flushed: what an export that broke off left beyond it is cut off by the
next, so nothing is there twice and nothing torn.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from cpt_client.errors import MissingPartError
from cpt_client.exports.rows import Row
from cpt_client.exports.target import ExportError, Marks, folder_name, locked, write_whole
from cpt_client.models import Job

if TYPE_CHECKING:
    from tensorboard.compat.proto.event_pb2 import Event


class TensorBoard:
    """A folder that `tensorboard --logdir` shows."""

    def __init__(self, folder: str | Path) -> None:
        self._folder = Path(folder)

    def open(self, job: Job) -> _Run:
        """The job's run; see `Target.open`."""
        try:
            import tensorboard  # noqa: F401 - only to tell what is missing
        except ImportError as error:
            raise MissingPartError("tensorboard", extra="tensorboard") from error
        return _Run(self._folder / folder_name(job), job)


class _Run:
    def __init__(self, folder: Path, job: Job) -> None:
        from tensorboard.summary.writer.record_writer import RecordWriter

        self.place = str(folder)
        self._progress = folder / "cpt-export.json"
        self._closing = contextlib.ExitStack()
        try:
            self._closing.enter_context(locked(folder / ".lock"))
            size, self.marks = self._read()
            self._file = self._closing.enter_context((folder / "events.out.tfevents.cpt").open("ab"))
            self._file.truncate(size)
        except (OSError, ExportError) as error:
            self._closing.close()
            if isinstance(error, ExportError):
                raise
            raise ExportError(f"{folder} cannot be written to: {error.strerror}; choose another folder") from error
        self._writer = RecordWriter(self._file)
        if size == 0:
            self._begin(job)

    def _read(self) -> tuple[int, Marks]:
        try:
            document: dict[str, Any] = json.loads(self._progress.read_text(encoding="utf-8"))
            return int(document["size"]), Marks(**document["marks"])
        except FileNotFoundError:
            return 0, Marks()
        except (ValueError, KeyError, TypeError) as error:
            message = f"{self._progress} is no file of an export: delete its folder, and export again"
            raise ExportError(message) from error

    def _begin(self, job: Job) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.plugins.text.summary_v2 import text_pb

        at = job.created_at.timestamp()
        spec = yaml.safe_dump(job.spec, sort_keys=False)
        indented = "\n".join(f"    {line}" for line in spec.splitlines())
        self._append(
            [
                Event(wall_time=at, file_version="brain.Event:2"),
                Event(wall_time=at, step=0, summary=text_pb("spec", indented)),
            ],
            self.marks,
        )

    def write(self, rows: Sequence[Row]) -> None:
        """Add rows."""
        self._append([_event(row) for row in rows], self.marks.after(rows))

    def finish(self, job: Job, result: Row | None) -> None:
        """The end."""
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.plugins.text.summary_v2 import text_pb

        at = job.finished_at or job.created_at
        how = f"{job.state}: {job.message or job.reason or ''}"
        said = Event(wall_time=at.timestamp(), step=job.progress.step, summary=text_pb("end", how))
        marks = Marks(self.marks.steps, self.marks.evaluations, is_complete=True)
        self._append([*([_event(result)] if result else []), said], marks)

    def close(self) -> None:
        """Let go of the folder."""
        self._closing.close()

    def _append(self, events: Sequence[Event], marks: Marks) -> None:
        for event in events:
            self._writer.write(event.SerializeToString())
        self._file.flush()
        os.fsync(self._file.fileno())
        write_whole(self._progress, json.dumps({"size": self._file.tell(), "marks": asdict(marks)}))
        self.marks = marks


def _event(row: Row) -> Event:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    values = [Summary.Value(tag=name, simple_value=value) for name, value in row.figures.items()]
    return Event(wall_time=row.time.timestamp(), step=row.step, summary=Summary(value=values))
