"""What clients, and deadlines, do to jobs there are. Each function is one transaction and may be repeated."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy.orm import Session

from api.db import Database
from api.jobs import ledger as protocol
from api.jobs import repository
from api.jobs.ledger import IllegalTransitionError, Ledger
from api.jobs.models import Job
from api.jobs.repository import LogRecord
from api.jobs.schemas import CancelRequested, PauseRequested, ResumeRequested
from api.jobs.service import find
from api.problems import ApiError
from cpt_core.events import now


def cancel(database: Database, project: str, job_id: str) -> Job:
    """Ask for the end of a job: at once if it waits, else carried out by its worker.

    Raises:
        ApiError: there is no such job, or it has ended otherwise.
    """
    return _ask(database, project, job_id, protocol.cancel)


def pause(database: Database, project: str, job_id: str) -> Job:
    """Ask a job to rest: at once if it waits, else carried out by its worker.

    Raises:
        ApiError: there is no such job, it has ended, or it is being cancelled.
    """
    return _ask(database, project, job_id, protocol.pause)


def resume(database: Database, project: str, job_id: str) -> Job:
    """Queue a paused job again, or take back a pause that is under way.

    Raises:
        ApiError: there is no such job, or it has ended.
    """
    return _ask(database, project, job_id, protocol.resume)


def archive(database: Database, project: str, job_id: str) -> Job:
    """Hide a job from lists.

    Raises:
        ApiError: there is no such job, or it has not ended.
    """
    with database.write() as session:
        job = find(session, project, job_id, lock=True)
        _check_final(job, "before it is archived")
        job.archived_at = job.archived_at or now()
        return job


def unarchive(database: Database, project: str, job_id: str) -> Job:
    """Show a job in lists again.

    Raises:
        ApiError: there is no such job.
    """
    with database.write() as session:
        job = find(session, project, job_id, lock=True)
        job.archived_at = None
        return job


def delete(database: Database, project: str, job_id: str) -> None:
    """Delete a job and its log now, and its files as soon as no retry starts from them.

    Raises:
        ApiError: there never was such a job, or it has not ended.
    """
    with database.write() as session:
        if repository.was_deleted(session, project, job_id):
            return
        job = find(session, project, job_id, lock=True)
        _check_final(job, "before it is deleted")
        repository.delete(session, job)


def overdue(database: Database) -> list[str]:
    """Jobs that have waited in the queue for too long."""
    with database.read() as session:
        return repository.overdue(session, now())


def time_out(database: Database, job_id: str) -> bool:
    """End a job that has waited for too long; False if it does not wait any more."""
    with database.write() as session:
        job = repository.get(session, job_id, lock=True)
        if job is None or job.queue_deadline is None or job.queue_deadline > now():
            return False
        before = repository.ledger(job, None)
        after = protocol.time_out(before, _waited(job))
        _store(session, job, before, after)
        return True


def _waited(job: Job) -> str:
    return (
        f"the job waited in queue {job.queue} for longer than limits.queue_timeout ({job.queue_timeout:g} s): "
        "no worker that has what it needs was free, or the project had as many jobs running as it may; "
        "allow it more time, or start workers"
    )


def end(session: Session, job: Job) -> None:
    """Ask for the end of a job that is locked and has not ended, within a transaction."""
    before = repository.ledger(job, repository.get_attempt(session, job, job.attempt))
    _store(session, job, before, protocol.cancel(before))


def _ask(database: Database, project: str, job_id: str, decide: Callable[[Ledger], Ledger]) -> Job:
    with database.write() as session:
        job = find(session, project, job_id, lock=True)
        before = repository.ledger(job, repository.get_attempt(session, job, job.attempt))
        try:
            after = decide(before)
        except IllegalTransitionError as error:
            raise _illegal(error) from error
        _store(session, job, before, after)
        return job


def _store(session: Session, job: Job, before: Ledger, after: Ledger) -> None:
    repository.store(job, repository.get_attempt(session, job, job.attempt), after)
    repository.log(session, job, [*_wishes(before, after), *protocol.changes(before, after)])


def _wishes(before: Ledger, after: Ledger) -> list[LogRecord]:
    """What the log says of wishes that a worker is to carry out."""
    if after.cancel and not before.cancel:
        return [CancelRequested()]
    if after.pause is before.pause:
        return []
    return [PauseRequested()] if after.pause else [ResumeRequested()]


def _check_final(job: Job, purpose: str) -> None:
    try:
        protocol.check_final(repository.ledger(job, None), purpose)
    except IllegalTransitionError as error:
        raise _illegal(error) from error


def _illegal(error: IllegalTransitionError) -> ApiError:
    return ApiError(409, "illegal_state", str(error))
