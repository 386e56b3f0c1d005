"""Rows of the database as the resources that clients see."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from api.jobs.models import Event, Job, Metric
from api.jobs.repository import METRIC_FIELDS
from api.jobs.schemas import (
    CheckpointView,
    Cost,
    Energy,
    EvaluationView,
    JobView,
    Latest,
    LogEntry,
    MeasuredEnergy,
    MetricView,
    ModelledEnergy,
    Progress,
)
from cpt_core.cost import compare
from cpt_core.events import Checkpoint, Evaluation, Result, Started, StepDone
from cpt_core.lifecycle import Reason, State
from cpt_core.spec import JobSpec


def job_view(job: Job) -> JobView:
    """A job."""
    spec = JobSpec.model_validate_json(job.spec)
    started = Started.model_validate_json(job.last_started) if job.last_started else None
    step = StepDone.model_validate_json(job.last_step) if job.last_step else None
    evaluation = Evaluation.model_validate_json(job.last_evaluation) if job.last_evaluation else None
    checkpoint = Checkpoint.model_validate_json(job.last_checkpoint) if job.last_checkpoint else None
    return JobView(
        id=job.id,
        name=job.name,
        state=State(job.state),
        reason=Reason(job.reason) if job.reason else None,
        message=job.message,
        queue=job.queue,
        priority=job.priority,
        attempt=job.attempt,
        cancel_requested=job.cancel_requested,
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
        progress=_progress(spec, started, step),
        latest=Latest(**step.model_dump(include=set(Latest.model_fields))) if step else None,
        evaluation=EvaluationView(**evaluation.model_dump(include=set(EvaluationView.model_fields)))
        if evaluation
        else None,
        cost=_cost(spec, started, step) if started and step else None,
        energy=_energy(started, step) if started and step else None,
        checkpoint=CheckpointView(**checkpoint.model_dump(include=set(CheckpointView.model_fields)))
        if checkpoint
        else None,
        result=Result.model_validate_json(job.result) if job.result else None,
        spec=spec,
    )


def _progress(spec: JobSpec, started: Started | None, step: StepDone | None) -> Progress:
    steps = spec.training.steps
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
    measured = MeasuredEnergy(joules=step.energy_joules, **started.energy.model_dump())
    return Energy(measured=measured, modelled=ModelledEnergy(joules=step.modelled_joules))


def metric_view(row: Metric) -> MetricView:
    """A step."""
    return MetricView(id=row.position, attempt=row.attempt, **{name: getattr(row, name) for name in METRIC_FIELDS})


def log_entry(row: Event) -> LogEntry:
    """An entry that is no step."""
    return LogEntry(**_flat(row))


def entry_json(row: Event | Metric) -> tuple[str, str]:
    """(type, JSON) of an entry of the stream."""
    if isinstance(row, Metric):
        return "step", metric_view(row).model_dump_json()
    return row.type, json.dumps(_flat(row), separators=(",", ":"), ensure_ascii=False)


def _flat(row: Event) -> dict[str, Any]:
    return {"id": row.position, "attempt": row.attempt, **json.loads(row.data)}
