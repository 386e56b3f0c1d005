"""All SQL of the logs aggregate."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Select, delete, select
from sqlalchemy.orm import Session

from api.artifacts.models import Artifact
from api.jobs.models import Attempt, Job
from api.logs.models import Log, LogBlock
from cpt_core.events import now

BLOCK_BYTES = 16 * 1024
"""Small enough to be rewritten whenever a line comes."""


def get(session: Session, job: Job, attempt: int, rank: int, *, lock: bool = False) -> Log | None:
    """The log of a rank, locked against other writers if asked."""
    query = select(Log).where(Log.job == job.pk, Log.attempt == attempt, Log.rank == rank)
    return session.scalars(query.with_for_update() if lock else query).one_or_none()


def file_of(session: Session, log: Log) -> Artifact | None:
    """The file that a log has become."""
    return session.get(Artifact, log.artifact) if log.artifact is not None else None


def append(session: Session, log: Log, data: bytes) -> None:
    """Bytes that follow the log's last."""
    last = session.scalars(_blocks(log).order_by(LogBlock.start.desc()).limit(1)).one_or_none()
    if last is not None and last.stop == log.size and (room := BLOCK_BYTES - len(last.data)) > 0:
        piece, data = data[:room], data[room:]
        last.data, last.stop = last.data + piece, last.stop + len(piece)
        log.size += len(piece)
    for at in range(0, len(data), BLOCK_BYTES):
        piece = data[at : at + BLOCK_BYTES]
        key = {"job": log.job, "attempt": log.attempt, "rank": log.rank}
        session.add(LogBlock(**key, start=log.size, stop=log.size + len(piece), data=piece))
        log.size += len(piece)
    log.changed_at = now()
    session.flush()


def shorten(session: Session, log: Log, max_bytes: int) -> None:
    """Leave out whole blocks of the middle, so that about `max_bytes` stay, half of them from the beginning."""
    half = max_bytes // 2
    start = log.gap_start if log.gap_start is not None else -(-half // BLOCK_BYTES) * BLOCK_BYTES
    stop = log.size - half
    if stop - max(start, log.gap_stop or 0) < BLOCK_BYTES:
        return
    in_the_gap = _blocks(log).where(LogBlock.start >= start, LogBlock.stop <= stop)
    last = session.scalars(in_the_gap.order_by(LogBlock.start.desc()).limit(1)).one_or_none()
    if last is None:
        return
    log.gap_start, log.gap_stop = start, last.stop
    session.execute(
        delete(LogBlock).where(
            LogBlock.job == log.job,
            LogBlock.attempt == log.attempt,
            LogBlock.rank == log.rank,
            LogBlock.start >= start,
            LogBlock.stop <= last.stop,
        )
    )


def blocks(session: Session, log: Log, *, start: int, limit: int) -> list[LogBlock]:
    """Up to `limit` blocks that have bytes from `start` on, in order."""
    return list(session.scalars(_blocks(log).where(LogBlock.stop > start).order_by(LogBlock.start).limit(limit)))


def last_blocks(session: Session, log: Log, *, before: int, limit: int) -> list[LogBlock]:
    """Up to `limit` blocks that begin before `before`, the last first."""
    query = _blocks(log).where(LogBlock.start < before).order_by(LogBlock.start.desc()).limit(limit)
    return list(session.scalars(query))


def attempts(session: Session, job: Job, rank: int, *, first: int) -> Sequence[int]:
    """Attempts from `first` on that have a log of this rank, in order."""
    query = select(Log.attempt).where(Log.job == job.pk, Log.rank == rank, Log.attempt >= first)
    return list(session.scalars(query.order_by(Log.attempt)))


def finished(session: Session, *, before: datetime, limit: int) -> list[tuple[Job, Log]]:
    """Logs in blocks of attempts that ended, and that have not grown, since `before`."""
    query = (
        select(Job, Log)
        .join(Log, Log.job == Job.pk)
        .join(Attempt, (Attempt.job == Log.job) & (Attempt.attempt == Log.attempt))
        .where(Log.artifact.is_(None), Attempt.ended_at < before, Log.changed_at < before)
        .limit(limit)
    )
    return [(row[0], row[1]) for row in session.execute(query)]


def archive(session: Session, log: Log, artifact: Artifact) -> None:
    """A log is in a file now."""
    session.add(artifact)
    session.flush()
    log.artifact = artifact.pk
    session.execute(
        delete(LogBlock).where(LogBlock.job == log.job, LogBlock.attempt == log.attempt, LogBlock.rank == log.rank)
    )


def _blocks(log: Log) -> Select[LogBlock]:
    return select(LogBlock).where(LogBlock.job == log.job, LogBlock.attempt == log.attempt, LogBlock.rank == log.rank)
