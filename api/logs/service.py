"""Logs: appended by workers, read by clients. Each function is one transaction, and the storage is asked outside."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy.orm import Session

from api.agent.service import holder
from api.artifacts.models import Artifact
from api.db import Database
from api.files.download import refused
from api.jobs import repository as jobs_repository
from api.jobs import service as jobs
from api.jobs.models import Job
from api.logs import repository
from api.logs.lines import Piece, tail_start
from api.logs.models import Log
from api.problems import ApiError, FieldProblem, invalid
from cpt_core.events import now
from cpt_core.lifecycle import FINAL
from cpt_core.protocol import LAUNCHER, LogReply
from cpt_core.storage import Storage, StorageError

BLOCKS_AT_ONCE = 64


def append(
    database: Database,
    job_id: str,
    number: int,
    token: str,
    *,
    rank: int,
    offset: int,
    data: bytes,
    max_bytes: int,
) -> LogReply:
    """Store a piece of a rank's output that begins at byte `offset`, each byte once.

    An attempt that has lost its job may still tell what it printed.

    Raises:
        ApiError: an unknown job, token or rank; a piece is missing before this one; or the log is in its file already.
    """
    with database.write() as session:
        job, attempt, _ = holder(session, job_id, number, token)
        if rank >= job.devices * job.nodes:
            message = f"the job has {job.devices * job.nodes} ranks, numbered from 0; {LAUNCHER} is the launcher"
            raise invalid(FieldProblem(parameter="rank", code="rank_unknown", message=message))
        log = repository.get(session, job, attempt.attempt, rank, lock=True)
        if log is None:
            log = Log(job=job.pk, attempt=attempt.attempt, rank=rank, size=0, changed_at=now())
            session.add(log)
            session.flush()
        if log.artifact is not None:
            raise ApiError(409, "log_closed", "the attempt is over, and its log is in its file")
        if offset > log.size:
            raise ApiError(409, "log_gap", f"byte {log.size} is missing before {offset}: send it first", size=log.size)
        fresh = data[log.size - offset :]
        if fresh:
            repository.append(session, log, fresh)
            repository.shorten(session, log, max_bytes)
        return LogReply(size=log.size)


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a job's logs a reader is."""

    attempt: int
    offset: int


@dataclass(frozen=True, slots=True)
class Found:
    """What there is to read from a place on."""

    pieces: list[Piece]
    """In order; empty: nothing now."""
    over: bool
    """The attempt has ended: what is not here will not come."""
    following: int | None
    """The next attempt that has such a log."""
    final: bool
    """The job has ended."""


def begin(
    database: Database,
    storage: Storage,
    project: str,
    job_id: str,
    *,
    rank: int,
    attempt: int | None,
    tail: int | None,
    offset: int,
) -> Place:
    """Where to begin: in this attempt, by default the last that printed something, and so many lines before its end.

    Raises:
        ApiError: there is no such job, attempt or rank, or the storage does not have the log.
    """
    with database.read() as session:
        job = jobs.find(session, project, job_id)
        if rank >= job.devices * job.nodes:
            message = f"the job has {job.devices * job.nodes} ranks, numbered from 0; {LAUNCHER} is the launcher"
            raise invalid(FieldProblem(parameter="rank", code="rank_unknown", message=message))
        if attempt is not None and attempt > job.attempt:
            message = f"the job has had {job.attempt} attempts, numbered from 1"
            raise invalid(FieldProblem(parameter="attempt", code="attempt_unknown", message=message))
        number = attempt or max(repository.attempts(session, job, rank, first=1), default=max(1, job.attempt))
        log = repository.get(session, job, number, rank)
        if tail is None or log is None:
            return Place(number, offset)
        if tail == 0:
            return Place(number, log.size)
        file = repository.file_of(session, log)
        if file is None:
            return Place(number, tail_start(_backwards(session, log), tail))
    return Place(number, tail_start(reversed(_pieces_of_file(storage, log, file, 0)), tail))


def read(database: Database, storage: Storage, project: str, job_id: str, *, rank: int, place: Place) -> Found:
    """What there is from a place on, at most `BLOCKS_AT_ONCE` blocks of it.

    Raises:
        ApiError: the job is gone, or the storage does not have the log.
    """
    with database.read() as session:
        job = jobs.find(session, project, job_id)
        log = repository.get(session, job, place.attempt, rank)
        file = repository.file_of(session, log) if log else None
        pieces = _pieces(session, log, place.offset) if log and file is None else []
        found = Found(
            pieces,
            over=_is_over(session, job, place.attempt),
            following=next(iter(repository.attempts(session, job, rank, first=place.attempt + 1)), None),
            final=job.state in FINAL,
        )
    if log is None or file is None:
        return found
    pieces = _pieces_of_file(storage, log, file, place.offset)
    return Found(pieces, over=True, following=found.following, final=found.final)


def _is_over(session: Session, job: Job, number: int) -> bool:
    attempt = jobs_repository.get_attempt(session, job, number)
    return job.state in FINAL if attempt is None else attempt.ended_at is not None


def _pieces(session: Session, log: Log, start: int) -> list[Piece]:
    found = repository.blocks(session, log, start=start, limit=BLOCKS_AT_ONCE)
    return [Piece(max(block.start, start), block.data[max(0, start - block.start) :]) for block in found]


def _backwards(session: Session, log: Log) -> Iterator[Piece]:
    before = log.size
    while found := repository.last_blocks(session, log, before=before, limit=BLOCKS_AT_ONCE):
        for block in found:
            yield Piece(block.start, block.data)
        before = found[-1].start


def _pieces_of_file(storage: Storage, log: Log, file: Artifact, start: int) -> list[Piece]:
    """A log that is in its file, from byte `start` of the output on."""
    gap_start, gap_stop = (log.size, log.size) if log.gap_start is None else (log.gap_start, log.gap_stop or 0)
    behind = file.size - (log.size - gap_stop)  # there a file with a gap goes on, after the line that tells of it
    spans = [(start, gap_start, start)] if start < gap_start else []
    if (second := max(start, gap_stop)) < log.size:
        spans.append((second, log.size, behind + second - gap_stop))
    try:
        return [Piece(first, storage.read(file.path, at, at + stop - first)) for first, stop, at in spans]
    except StorageError as error:
        raise refused(error) from error
