"""Jobs made from other jobs: retries and clones. The original stays as it is: its end is final."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Literal

from pydantic import JsonValue, ValidationError
from sqlalchemy.orm import Session

from api.db import Database
from api.jobs import ledger as protocol
from api.jobs import repository
from api.jobs.ledger import IllegalTransitionError
from api.jobs.models import Job
from api.jobs.service import accept, digest_of, find, once
from api.merge_patch import merge_patch
from api.problems import ApiError, FieldProblem, invalid
from cpt_core.spec import JobSpec, problems


def retry(
    database: Database, project: str, job_id: str, start: Literal["checkpoint", "start"] | None, key: str | None
) -> tuple[Job, bool]:
    """A new job that tries a failed or cancelled one again. False: it was created before, with the same key.

    Raises:
        ApiError: there is no such job, it has not ended or has succeeded, there is no checkpoint to start from, or the
            key was used for another request.
    """
    digest = digest_of("retry", job_id, str(start))

    def make(session: Session) -> Job:
        origin = find(session, project, job_id, lock=True)
        _check(origin, start)
        from_checkpoint = origin.last_checkpoint is not None and start != "start"
        job = accept(session, project, JobSpec.model_validate_json(origin.spec), key, digest, retry_of=origin.id)
        if from_checkpoint:
            job.last_checkpoint = origin.last_checkpoint
            job.checkpoint_of = origin.checkpoint_of or origin.id
        return job

    return once(database, project, key, digest, make)


def _check(origin: Job, start: Literal["checkpoint", "start"] | None) -> None:
    try:
        protocol.check_retry(repository.ledger(origin, None))
    except IllegalTransitionError as error:
        raise ApiError(409, "illegal_state", str(error)) from error
    if start == "checkpoint" and origin.last_checkpoint is None:
        raise ApiError(
            409, "no_checkpoint", 'the job ended before its first checkpoint; retry it with {"from": "start"}'
        )


def merged_spec(job: Job, overrides: Mapping[str, JsonValue]) -> JobSpec:
    """The job's spec with changes.

    Raises:
        ApiError: the outcome is no valid spec.
    """
    document = merge_patch(json.loads(job.spec), dict(overrides))
    try:
        return JobSpec.model_validate_json(json.dumps(document))
    except ValidationError as error:
        faults = [
            FieldProblem(pointer=f"/overrides{item['pointer']}", code=item["code"], message=item["message"])
            for item in problems(error)
        ]
        raise invalid(*faults) from error


def clone(database: Database, project: str, job_id: str, spec: JobSpec, key: str | None) -> tuple[Job, bool]:
    """A new job with a spec made from another's. False: it was created before, with the same key.

    Raises:
        ApiError: there is no such job, or the key was used for another request.
    """
    digest = digest_of("clone", job_id, spec.model_dump_json())

    def make(session: Session) -> Job:
        return accept(session, project, spec, key, digest, clone_of=find(session, project, job_id).id)

    return once(database, project, key, digest, make)
