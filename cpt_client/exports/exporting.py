"""From a server to a tool: everything the tool does not have yet, once."""

from __future__ import annotations

import contextlib
import heapq
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from cpt_client.client import Client
from cpt_client.errors import CptError
from cpt_client.exports import rows
from cpt_client.exports.rows import Row
from cpt_client.exports.target import ExportError, Marks, Run, Target
from cpt_client.models import Job

__all__ = ["ExportError", "Exported", "export", "export_all"]

CHUNK = 500
"""Rows that are handed to a tool at once."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What a tool has of a job."""

    job: Job
    """The job as it was exported."""
    place: str
    """Where it is."""
    steps: int
    """Steps that are there: those with a lower index."""
    is_complete: bool
    """Whether the job's end is there."""


Tell = Callable[[Exported], None]


def export(
    client: Client, job_id: str, target: Target, *, follow: bool = False, on_progress: Tell | None = None
) -> Exported:
    """Bring a job to a tool: what the tool lacks of it.

    Args:
        client: the server's client.
        job_id: the job.
        target: the tool and the place in it.
        follow: stay until the job has ended, and bring what happens as it happens.
        on_progress: told after each time that something was brought.

    Raises:
        CptError: the server refuses, or was away for too long.
        ExportError: the place cannot be used.
        MissingPartError: the tool's library is not installed.
    """
    with contextlib.closing(_Exporter(client, target, on_progress)) as exporter:
        job: Job = client.get(job_id)
        changes = client.changes() if follow and not job.is_final else iter(())
        latest = exporter.bring(job)
        for change in changes:
            if change is None:  # from here on no change is missed
                latest = exporter.bring(client.get(job_id))
            elif change.id == job_id and exporter.is_news(change):
                latest = exporter.bring(change)
            if latest.is_complete:
                break
        return latest


def export_all(client: Client, target: Target, *, follow: bool = False, on_progress: Tell | None = None) -> None:
    """Bring all jobs of the project to a tool but the archived ones; the arguments are those of `export`.

    With `follow` it has no end: jobs that are submitted later come as well.
    """
    with contextlib.closing(_Exporter(client, target, on_progress)) as exporter:
        if not follow:
            for job in client.list():
                exporter.bring_unless_deleted(job)
            return
        for change in client.changes():
            for job in client.list() if change is None else (change,):
                if job.archived_at is None and exporter.is_news(job):
                    exporter.bring_unless_deleted(job)


class _Exporter:
    """Runs that are open in a tool, by job."""

    def __init__(self, client: Client, target: Target, tell: Tell | None) -> None:
        self._client, self._target, self._tell = client, target, tell
        self._runs: dict[str, Run] = {}
        self._states: dict[str, str] = {}
        """State of each job when it was last brought."""

    def close(self) -> None:
        for run in self._runs.values():
            run.close()
        self._runs.clear()

    def is_news(self, job: Job) -> bool:
        """Whether there is more of the job than was brought; changes come late while others are brought."""
        run = self._runs.get(job.id)
        return job.state != self._states.get(job.id) or (run is not None and _is_behind(run.marks, job))

    def bring_unless_deleted(self, job: Job) -> None:
        """The same for a job that may be gone meanwhile: what was brought of it stays."""
        try:
            self.bring(job)
        except CptError as error:
            if error.status != 404:
                raise
            if run := self._runs.pop(job.id, None):
                run.close()

    def bring(self, job: Job) -> Exported:
        """Bring what is new up to the state in which the job is."""
        run = self._runs.get(job.id) or self._target.open(job)
        self._runs[job.id] = run
        if not run.marks.is_complete:
            try:
                self._write(job, run)
            except OSError as error:  # such as a full disk
                raise ExportError(f"{run.place} cannot be written to: {error}") from error
        self._states[job.id] = job.state
        exported = Exported(job, run.place, run.marks.steps, run.marks.is_complete)
        if run.marks.is_complete:
            self._runs.pop(job.id).close()
        if self._tell is not None:
            self._tell(exported)
        return exported

    def _write(self, job: Job, run: Run) -> None:
        news = self._news(job, run)
        while chunk := list(itertools.islice(news, CHUNK)):
            run.write(chunk)
        if job.is_final:
            run.finish(job, rows.of_result(job))

    def _news(self, job: Job, run: Run) -> Iterator[Row]:
        """The rows that the run lacks, an evaluation after the step it was taken at and before the next.

        Only what lies behind the job's last step by its answer: an evaluation that belongs before a later one could
        still be on its way.
        """
        marks, done = run.marks, job.progress.step
        evaluations: dict[int, Row] = {}
        if _has_new_evaluation(marks, job):
            for event in self._client.events(job.id):
                if event.type == "evaluation" and marks.evaluations < event.fields["step"] <= done:
                    evaluations[event.fields["step"]] = rows.of_evaluation(event)  # a later attempt takes one again
        steps: Iterator[Row] = iter(())
        if marks.steps < done:
            found = self._client.metrics(job.id, from_step=marks.steps, to_step=done - 1)
            steps = _ascending(rows.of_step(event) for event in found)
        in_order = heapq.merge(
            ((row.step, 1, row) for row in steps),
            ((step, 0, row) for step, row in sorted(evaluations.items())),
            key=lambda item: item[:2],
        )
        return (row for _, _, row in in_order)


def _is_behind(marks: Marks, job: Job) -> bool:
    return marks.steps < job.progress.step or _has_new_evaluation(marks, job)


def _has_new_evaluation(marks: Marks, job: Job) -> bool:
    return job.evaluation is not None and marks.evaluations < job.evaluation.step


def _ascending(found: Iterator[Row]) -> Iterator[Row]:
    """The rows without those that an attempt ran again while they were read."""
    last = -1
    for row in found:
        if row.step > last:
            last = row.step
            yield row
