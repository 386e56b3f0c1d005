"""Whether a project may have the jobs it asks for. For the transaction that makes them."""

from __future__ import annotations

from sqlalchemy.orm import Session

from api.problems import ApiError, FieldProblem, invalid
from api.projects import repository
from api.projects.schemas import ProjectLimits
from cpt_core.spec import JobSpec


def admit(session: Session, project: str, *specs: JobSpec) -> None:
    """Let these jobs be made, or open again. Holds the project's row, so that no two transactions count the same room.

    Raises:
        ApiError: a job is larger than the project's jobs may be, or it has as many open jobs as it may have.
    """
    limits = repository.limits_of(session, project)
    for spec in specs:
        check_spec(limits, spec)
    if limits.max_open_jobs is None:
        return
    allowed = repository.limits_of(session, project, lock=True).max_open_jobs
    waiting = repository.open_jobs(session, project)
    if allowed is not None and waiting + len(specs) > allowed:
        raise ApiError(
            409,
            "open_jobs_limit",
            f"project {project} may have {allowed} open jobs and has {waiting}: wait for one to end, or cancel one",
        )


def check_spec(limits: ProjectLimits, spec: JobSpec) -> None:
    """What of the limits can be held against a spec alone.

    Raises:
        ApiError: the job is longer, or takes more devices, than the project's jobs may.
    """
    faults = []
    for pointer, value, allowed, what in (
        ("/training/steps", spec.steps, limits.max_steps, "steps of one job"),
        (
            "/resources/devices",
            spec.resources.devices * spec.resources.nodes,
            limits.max_running_devices,
            "devices at the same time",
        ),
    ):
        if allowed is not None and value > allowed:
            message = f"{value} is above the project's limit of {allowed} {what}: lower it, or ask an operator for more"
            faults.append(FieldProblem(pointer=pointer, code="project_limit", message=message))
    if faults:
        raise invalid(*faults)
