"""What clients can do with sweeps. Each function is one transaction."""

from __future__ import annotations

import hashlib
import secrets
from pathlib import Path

from sqlalchemy.orm import Session

from api import idempotency
from api.compare import repository as compare
from api.db import Database
from api.jobs import control
from api.jobs import service as jobs
from api.pages import own, row_at
from api.problems import ApiError, FieldProblem, invalid
from api.projects import quota
from api.sweeps import repository
from api.sweeps.members import build, count
from api.sweeps.models import Sweep
from api.sweeps.schemas import SweepRequest, SweepResults, SweepView
from api.sweeps.views import sweep_results, sweep_view
from cpt_core.events import now
from cpt_core.lifecycle import FINAL, State
from cpt_core.spec import JobSpec


def specs(request: SweepRequest, *, limit: int, data_root: Path | None) -> list[JobSpec]:
    """The specs of all members.

    Raises:
        ApiError: they are more than `limit`, or some are no valid spec.
    """
    number = count(request.grid, request.overrides)
    if number > limit:
        message = f"they make {number} members, more than the {limit} of a sweep: make several sweeps of it"
        raise invalid(
            FieldProblem(pointer="/grid" if request.grid else "/overrides", code="too_many_members", message=message)
        )
    found, faults = build(request.spec, request.grid, request.overrides, lambda spec: jobs.check(spec, data_root))
    if faults:
        raise invalid(*faults)
    return found


def create(
    database: Database, project: str, request: SweepRequest, members: list[JobSpec], idempotency_key: str | None
) -> tuple[SweepView, bool]:
    """Accept a sweep: committed with all its members, queued. False: it was created before, with the same key.

    Raises:
        ApiError: the key was used for another request.
    """
    document = request.model_dump_json(exclude={"name"})
    digest = hashlib.sha256(f"{request.name}\n{document}".encode()).hexdigest()

    def make(session: Session) -> Sweep:
        quota.admit(session, project, *members)
        sweep = Sweep(
            id=f"sweep_{secrets.token_hex(12)}",
            project=project,
            name=request.name,
            request=document,
            idempotency_key=idempotency_key,
            request_digest=digest,
            steps=sum(spec.steps for spec in members),
            created_at=now(),
        )
        session.add(sweep)
        session.flush()
        for spec in members:
            jobs.insert(session, project, spec, None, digest, sweep=sweep.id)
        return sweep

    sweep, created = idempotency.once(
        database,
        idempotency_key,
        digest,
        lambda session, key: repository.by_idempotency_key(session, project, key),
        make,
    )
    return get(database, project, sweep.id), created


def get(database: Database, project: str, sweep_id: str) -> SweepView:
    """One sweep.

    Raises:
        ApiError: there is no such sweep.
    """
    with database.read() as session:
        return _view(session, _get(session, project, sweep_id))


def page(database: Database, project: str, *, cursor: str | None, limit: int) -> list[SweepView]:
    """One sweep more than `limit` if there are more.

    Raises:
        ApiError: the cursor is none of this list.
    """
    with database.read() as session:
        row_at(cursor, lambda key: own(repository.get(session, key), project))
        found = repository.page(session, project, before=cursor, limit=limit + 1)
        tallies = repository.tallies(session, [sweep.id for sweep in found])
        return [sweep_view(sweep, tallies[sweep.id]) for sweep in found]


def cancel(database: Database, project: str, sweep_id: str) -> tuple[SweepView, list[str]]:
    """Ask for the end of all members that have not ended. Idempotent. With the ids of the jobs that were asked.

    Raises:
        ApiError: there is no such sweep, or all its members have ended and none because of a cancel.
    """
    with database.write() as session:
        sweep = _get(session, project, sweep_id)
        members = repository.members(session, sweep, lock=True)
        open_jobs = [job for job in members if job.state not in FINAL]
        if not open_jobs and not any(job.state == State.CANCELLED for job in members):
            raise ApiError(409, "illegal_state", "all members of the sweep have ended; there is nothing to cancel")
        for job in open_jobs:
            control.end(session, job)
        session.flush()
        return _view(session, sweep), [job.id for job in open_jobs]


def results(database: Database, project: str, sweep_id: str) -> SweepResults:
    """What came of the members.

    Raises:
        ApiError: there is no such sweep.
    """
    with database.read() as session:
        sweep = _get(session, project, sweep_id)
        rows = compare.with_attempts(session, repository.members(session, sweep))
        tally = repository.tallies(session, [sweep.id])[sweep.id]
    return sweep_results(sweep, tally, rows)


def _view(session: Session, sweep: Sweep) -> SweepView:
    return sweep_view(sweep, repository.tallies(session, [sweep.id])[sweep.id])


def _get(session: Session, project: str, sweep_id: str) -> Sweep:
    """The one place where a sweep is looked up for a client: another project's sweep does not exist."""
    sweep = repository.get(session, sweep_id)
    if sweep is None or sweep.project != project:
        raise ApiError(404, "sweep_not_found", f"there is no sweep {sweep_id}")
    return sweep
