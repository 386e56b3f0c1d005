"""A run without a server, told by its own events, in the shape in which the API tells of a job."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime

from cpt_client import models
from cpt_core.carbon import footprint
from cpt_core.cost import compare
from cpt_core.events import AnyEvent, Checkpoint, Evaluation, Finished, Started, StepDone
from cpt_core.spec import JobSpec


class LocalRun:
    """Takes in a run's events and answers the job that they amount to."""

    def __init__(self, spec: JobSpec) -> None:
        self._spec = spec
        self._count = 0
        self._started: Started | None = None
        self._answer = models.Job(
            id="local",
            name=spec.name,
            state="starting",
            queue="",
            attempt=1,
            created_at=datetime.now(UTC),
            spec=spec.model_dump(mode="json"),
            progress=models.Progress(step=0, steps=spec.steps),
        )

    @property
    def job(self) -> models.Job:
        """The run as it is now."""
        return self._answer

    def take(self, event: AnyEvent) -> models.Event:
        """Take in the next event; answers it as the API would have sent it."""
        changes: dict[str, object] = {}
        match event:
            case Started():
                self._started = event
                progress = self._answer.progress.model_copy(update={"step": event.resume_step})
                changes = {"state": "running", "started_at": event.time, "progress": progress}
            case StepDone():
                changes = self._step(event)
            case Evaluation():
                changes = {"evaluation": models.Evaluation.model_validate(event.model_dump())}
            case Checkpoint():
                changes = {"checkpoint": models.CheckpointRef.model_validate(event.model_dump())}
            case Finished():
                changes = {"state": event.outcome, "reason": event.reason, "message": event.message}
                changes["finished_at"] = event.time
                if event.result is not None:
                    changes["result"] = models.Result.model_validate(event.result.model_dump())
        self._answer = self._answer.model_copy(update=changes)
        self._count += 1
        return models.Event.model_validate(event.model_dump() | {"id": self._count})

    def _step(self, event: StepDone) -> dict[str, object]:
        steps = self._spec.steps
        done, left = event.step + 1, steps - event.step - 1
        eta = left * self._spec.samples_per_step / event.samples_per_second if event.samples_per_second else None
        progress = models.Progress(step=done, steps=steps, epoch=event.epoch, fraction=done / steps, eta_seconds=eta)
        changes: dict[str, object] = {"progress": progress, "latest": models.Latest.model_validate(event.model_dump())}
        if self._started is not None:
            changes |= {"cost": self._cost(event, self._started), "energy": self._energy(event, self._started)}
        return changes

    def _cost(self, event: StepDone, started: Started) -> models.Cost:
        precision, samples = self._spec.precision, (event.step + 1) * self._spec.samples_per_step
        cost = compare(event.gbitops, started.macs, samples, precision.max_bits, precision.max_gradient_bits)
        return models.Cost(**asdict(cost))

    def _energy(self, event: StepDone, started: Started) -> models.Energy:
        counter, grid = started.energy.model_dump(), started.grid_gco2e_per_kwh
        measured, modelled = (footprint(joules, grid) for joules in (event.energy_joules, event.modelled_joules))
        return models.Energy(
            measured=models.EnergyFigure(joules=event.energy_joules, **asdict(measured), **counter),
            modelled=models.EnergyFigure(joules=event.modelled_joules, **asdict(modelled), source="model"),
            grid_gco2e_per_kwh=grid,
        )
