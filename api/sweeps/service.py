"""What clients can do with sweeps. Each function is one transaction."""

from __future__ import annotations

import hashlib
import secrets
from pathlib import Path

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from api.compare import repository as compare
from api.db import Database
from api.jobs import control
from api.jobs import service as jobs
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
    try:
        with database.write() as session:
            earlier = repository.by_idempotency_key(session, project, idempotency_key) if idempotency_key else None
            if earlier is None:
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
                _insert(session, sweep, members)
                return _view(session, sweep), True
    except IntegrityError:  # the same key, at the same moment
        with database.read() as session:
            earlier = repository.by_idempotency_key(session, project, idempotency_key or "")
            if earlier is None:
                raise
    if earlier.request_digest != digest:
        message = f"the Idempotency-Key was used for {earlier.id} with another request; use a new key"
        fault = FieldProblem(parameter="Idempotency-Key", code="idempotency_key_reused", message="use a new key")
        raise ApiError(422, "idempotency_key_reused", message, errors=[fault])
    return get(database, project, earlier.id), False


def _insert(session: Session, sweep: Sweep, members: list[JobSpec]) -> None:
    quota.admit(session, sweep.project, *members)
    session.add(sweep)
    session.flush()
    for spec in members:
        jobs.insert(session, sweep.project, spec, None, sweep.request_digest, sweep=sweep.id)


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
        before = repository.get(session, cursor) if cursor is not None else None
        if cursor is not None and (before is None or before.project != project):
            message = "is no cursor of this list: use next_cursor of the page before"
            raise invalid(FieldProblem(parameter="cursor", code="invalid_cursor", message=message))
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
