"""What clients can do with jobs: create, find and read them. Each function is one transaction."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path

from sqlalchemy.orm import Session

from api import idempotency
from api.datasets import service as datasets
from api.db import Database
from api.jobs import repository
from api.jobs.ledger import Ledger
from api.jobs.models import Job, JobLabel
from api.jobs.schemas import StateChanged
from api.pages import own, row_at
from api.problems import FieldProblem, invalid, not_found
from api.projects import quota
from cpt_core import tracing
from cpt_core.events import now
from cpt_core.lifecycle import State
from cpt_core.spec import FileDataset, JobSpec


def check(spec: JobSpec, data_root: Path | None) -> None:
    """What can be known of a valid spec before it runs.

    Raises:
        ApiError: the dataset's folder is not there, or leads out of the data root.
    """
    if data_root is None or not isinstance(spec.dataset, FileDataset) or spec.dataset.upload is not None:
        return
    folder = (data_root / spec.dataset.path).resolve()
    if not folder.is_relative_to(data_root.resolve()):
        code, message = "path_outside_root", "leads out of the data root"
    elif not folder.exists() and not getattr(spec.dataset, "download", False):
        code, message = "dataset_not_found", f"there is no {spec.dataset.path} below the server's data root"
    else:
        return
    raise invalid(FieldProblem(pointer="/dataset/path", code=code, message=message))


def create(database: Database, project: str, spec: JobSpec, idempotency_key: str | None) -> tuple[Job, bool]:
    """Accept a job: committed and queued. False: it was created before, with the same key.

    Raises:
        ApiError: the key was used for another request.
    """
    digest = digest_of(spec.model_dump_json())
    return once(
        database,
        project,
        idempotency_key,
        digest,
        lambda session: accept(session, project, spec, idempotency_key, digest),
    )


def digest_of(*parts: str) -> str:
    """What tells a request to create a job from others with the same idempotency key."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def once(
    database: Database, project: str, idempotency_key: str | None, digest: str, make: Callable[[Session], Job]
) -> tuple[Job, bool]:
    """The job that `make` creates in one transaction; or, and False, the one created before with the same key.

    Raises:
        ApiError: the key was used for another request.
    """
    return idempotency.once(
        database,
        idempotency_key,
        digest,
        lambda session, key: repository.by_idempotency_key(session, project, key),
        make,
    )


def accept(
    session: Session, project: str, spec: JobSpec, idempotency_key: str | None, digest: str, **origin: str | None
) -> Job:
    """A new job, as `insert` makes it.

    Raises:
        ApiError: the project may not have it.
    """
    quota.admit(session, project, spec)
    return insert(session, project, spec, idempotency_key, digest, **origin)


def insert(
    session: Session, project: str, spec: JobSpec, idempotency_key: str | None, digest: str, **origin: str | None
) -> Job:
    """A new job, queued, with the first entry of its log. `origin`: columns that say what it was made from."""
    resources = spec.resources
    job = Job(
        id=f"job_{secrets.token_hex(12)}",
        project=project,
        name=spec.name,
        spec=spec.model_dump_json(),
        idempotency_key=idempotency_key,
        request_digest=digest,
        queue=resources.queue,
        priority=resources.priority,
        device=resources.device,
        devices=resources.devices,
        nodes=resources.nodes,
        queue_timeout=spec.limits.queue_timeout,
        position=0,
        created_at=now(),
        traceparent=tracing.traceparent(),
        **origin,
    )
    repository.store(job, None, Ledger())
    session.add(job)
    repository.log(session, job, [StateChanged(state=State.QUEUED)])
    session.add_all(JobLabel(job=job.pk, label=label) for label in resources.labels)
    datasets.link(session, project, job, spec)
    return job


def get(database: Database, project: str, job_id: str) -> Job:
    """One job.

    Raises:
        ApiError: there is no such job.
    """
    with database.read() as session:
        return find(session, project, job_id)


def page(
    database: Database,
    project: str,
    *,
    cursor: str | None,
    states: Sequence[State],
    queue: str | None,
    archived: bool,
    sweep: str | None,
    limit: int,
) -> list[Job]:
    """One job more than `limit` if there are more.

    Raises:
        ApiError: the cursor is none of this list.
    """
    with database.read() as session:
        row_at(cursor, lambda key: own(repository.get(session, key), project))
        return repository.page(
            session,
            project,
            before=cursor,
            states=states,
            queue=queue,
            archived=archived,
            sweep=sweep,
            limit=limit + 1,
        )


def find(session: Session, project: str, job_id: str, *, lock: bool = False) -> Job:
    """The one place where a job is looked up for a client: another project's job does not exist.

    Raises:
        ApiError: there is no such job.
    """
    job = repository.get(session, job_id, lock=lock)
    if job is None or job.project != project:
        raise not_found(job_id)
    return job
