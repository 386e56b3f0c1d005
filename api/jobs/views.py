"""Rows of the database as the resources that clients see."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Protocol, TypeVar

from pydantic import BaseModel

from api.jobs.ledger import actions
from api.jobs.models import Job
from api.jobs.repository import ledger
from api.jobs.schemas import (
    CheckpointView,
    Cost,
    Energy,
    EvaluationView,
    Item,
    JobView,
    Latest,
    MeasuredEnergy,
    ModelledEnergy,
    Page,
    Progress,
    Resource,
)
from cpt_core.carbon import footprint
from cpt_core.cost import compare
from cpt_core.events import Checkpoint, Evaluation, Result, Started, StepDone
from cpt_core.lifecycle import ACTIVE, Reason, State
from cpt_core.spec import JobSpec

Model = TypeVar("Model", bound=BaseModel)
View = TypeVar("View", bound=Resource)
Row = TypeVar("Row", bound="HasPosition")


class HasPosition(Protocol):
    """A row of a job's log."""

    @property
    def position(self) -> int:
        """Its cursor."""


def job_view(job: Job) -> JobView:
    """A job."""
    spec = JobSpec.model_validate_json(job.spec)
    started, step = _read(Started, job.last_started), _read(StepDone, job.last_step)
    return JobView(
        id=job.id,
        name=job.name,
        state=State(job.state),
        reason=Reason(job.reason) if job.reason else None,
        message=job.message,
        sweep=job.sweep,
        queue=job.queue,
        priority=job.priority,
        attempt=job.attempt,
        cancel_requested=job.cancel_requested,
        pause_requested=job.pause_requested and job.state in ACTIVE,
        actions=actions(ledger(job, None), archived=job.archived_at is not None),
        retry_of=job.retry_of,
        clone_of=job.clone_of,
        created_at=job.created_at,
        queued_at=job.queued_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
        archived_at=job.archived_at,
        progress=_progress(spec, started, step),
        latest=_excerpt(Latest, step),
        evaluation=_excerpt(EvaluationView, _read(Evaluation, job.last_evaluation)),
        cost=_cost(spec, started, step) if started and step else None,
        energy=_energy(started, step) if started and step else None,
        checkpoint=_excerpt(CheckpointView, _read(Checkpoint, job.last_checkpoint)),
        result=_read(Result, job.result),
        spec=spec,
    )


def _read(model: type[Model], document: str | None) -> Model | None:
    return model.model_validate_json(document) if document else None


def _excerpt(view: type[View], record: BaseModel | None) -> View | None:
    """The fields of a record that a view shows."""
    return view(**record.model_dump(include=set(view.model_fields))) if record else None


def _progress(spec: JobSpec, started: Started | None, step: StepDone | None) -> Progress:
    steps = spec.steps
    done = step.step + 1 if step else started.resume_step if started else 0
    speed = step.samples_per_second if step else 0.0
    return Progress(
        step=done,
        steps=steps,
        epoch=step.epoch if step else 0,
        fraction=done / steps,
        eta_seconds=(steps - done) * spec.samples_per_step / speed if speed else None,
    )


def _cost(spec: JobSpec, started: Started, step: StepDone) -> Cost:
    precision, samples = spec.precision, (step.step + 1) * spec.samples_per_step
    return Cost(**asdict(compare(step.gbitops, started.macs, samples, precision.max_bits, precision.max_gradient_bits)))


def _energy(started: Started, step: StepDone) -> Energy:
    grid = started.grid_gco2e_per_kwh
    measured, modelled = (footprint(joules, grid) for joules in (step.energy_joules, step.modelled_joules))
    return Energy(
        measured=MeasuredEnergy(joules=step.energy_joules, **asdict(measured), **started.energy.model_dump()),
        modelled=ModelledEnergy(joules=step.modelled_joules, **asdict(modelled)),
        grid_gco2e_per_kwh=grid,
    )


def log_page(rows: Sequence[Row], limit: int, view: Callable[[Row], Item]) -> Page[Item]:
    """A page of a job's log, by position. `rows` holds one more than `limit` if there are more."""
    shown = rows[:limit]
    return Page(
        object="list",
        data=[view(row) for row in shown],
        has_more=len(rows) > limit,
        next_cursor=str(shown[-1].position) if shown else None,
    )
