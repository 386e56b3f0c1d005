"""HTTP for clients: what can be done with a job. `actions` of a job names what it allows now."""

from __future__ import annotations

from fastapi import APIRouter, Response

from api.deps import ServicesDep, Submitter
from api.jobs import control, derive, service, views
from api.jobs.endpoints import IdempotencyKey, created_job
from api.jobs.schemas import Clone, JobId, JobView, Retry
from api.problems import documented

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["jobs"])


@router.post("/cancel", responses=documented(404, 409, 422))
def cancel_job(job_id: JobId, services: ServicesDep, caller: Submitter) -> JobView:
    """End a job: a waiting one at once, a running one within seconds, see `cancel_requested`. Idempotent."""
    job = control.cancel(services.database, caller.project, job_id)
    services.ended(job.id)
    return views.job_view(job)


@router.post("/pause", responses=documented(404, 409, 422))
def pause_job(job_id: JobId, services: ServicesDep, caller: Submitter) -> JobView:
    """Let a job rest: a waiting one at once; a running one saves a checkpoint and frees its devices within seconds, see
    `pause_requested`. Idempotent.
    """
    job = control.pause(services.database, caller.project, job_id)
    services.changed(job.id)
    return views.job_view(job)


@router.post("/resume", responses=documented(404, 409, 422))
def resume_job(job_id: JobId, services: ServicesDep, caller: Submitter) -> JobView:
    """Queue a paused job again, to go on from its last checkpoint. Idempotent: a job that is not paused goes on."""
    job = control.resume(services.database, caller.project, job_id)
    services.changed(job.id)
    services.bells.ring(job.queue)
    return views.job_view(job)


@router.post("/retry", status_code=201, responses=documented(400, 404, 409, 413, 422))
def retry_job(
    job_id: JobId,
    services: ServicesDep,
    caller: Submitter,
    response: Response,
    how: Retry | None = None,
    idempotency_key: IdempotencyKey = None,
) -> JobView:
    """Try a failed or cancelled job again, as a new job with the same spec, `retry_of` it, from its last checkpoint or
    from the start. Strikes and limits begin anew; the first job stays as it ended.
    """
    start = how.start if how else None
    job, created = derive.retry(services.database, caller.project, job_id, start, idempotency_key)
    return created_job(services, response, job, created)


@router.post("/clone", status_code=201, responses=documented(400, 404, 413, 422))
def clone_job(
    job_id: JobId,
    services: ServicesDep,
    caller: Submitter,
    response: Response,
    changes: Clone | None = None,
    idempotency_key: IdempotencyKey = None,
) -> JobView:
    """Submit a job's spec again, with changes, as a new job that starts from scratch, `clone_of` it."""
    origin = service.get(services.database, caller.project, job_id)
    spec = derive.merged_spec(origin, changes.overrides if changes else {})
    service.check(spec, services.settings.data_root)
    job, created = derive.clone(services.database, caller.project, job_id, spec, idempotency_key)
    return created_job(services, response, job, created)


@router.post("/archive", responses=documented(404, 409, 422))
def archive_job(job_id: JobId, services: ServicesDep, caller: Submitter) -> JobView:
    """Hide a job that has ended from lists. Idempotent."""
    job = control.archive(services.database, caller.project, job_id)
    services.changed(job.id)
    return views.job_view(job)


@router.post("/unarchive", responses=documented(404, 422))
def unarchive_job(job_id: JobId, services: ServicesDep, caller: Submitter) -> JobView:
    """Show a job in lists again. Idempotent."""
    job = control.unarchive(services.database, caller.project, job_id)
    services.changed(job.id)
    return views.job_view(job)


@router.delete("", status_code=204, responses=documented(404, 409, 422))
def delete_job(job_id: JobId, services: ServicesDep, caller: Submitter) -> None:
    """Delete a job that has ended, for good: its log at once, its files within seconds, or once no retry needs them.

    Idempotent.
    """
    control.delete(services.database, caller.project, job_id)
