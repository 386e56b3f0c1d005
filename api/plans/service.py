"""Plans out of specs. Nothing is read but the spec."""

from __future__ import annotations

from itertools import islice
from typing import Any

from pydantic import JsonValue

from api.plans.schemas import Figures, PlannedRun, PlanView
from api.problems import FieldProblem, invalid
from cpt_core.cost import Profile
from cpt_core.forecast import Forecast, forecast, schedules
from cpt_core.schedules import Run, runs
from cpt_core.sizes import DatasetSize, model_size, published_size, steps_per_epoch
from cpt_core.spec import ExternalModel, JobSpec

MAX_RUNS = 20_000
"""Runs of the same bit widths up to which a schedule is counted: a request takes a second at most."""
SHOWN_RUNS = 2_000

_UNIT = Profile(macs=1, weights=1, activations=1, outputs=1)
_SIZED = tuple(f"{figure}{of}" for figure in ("gbitops", "modelled_joules") for of in ("", "_static", "_fp32"))
"""Figures that a model's size is needed for."""


def plan(spec: JobSpec, document: dict[str, JsonValue]) -> PlanView:
    """What the training will do and cost.

    Raises:
        ApiError: a batch is larger than the whole training split.
    """
    data = published_size(spec.dataset)
    size = model_size(spec, data.classes) if data else None
    backward = spec.precision.backward_schedule(spec.steps)
    counted = [list(islice(runs(forward, backward, spec.steps), MAX_RUNS + 1)) for forward in schedules(spec)]
    figures: list[Figures] = []
    if all(len(planned) <= MAX_RUNS for planned in counted):
        figures = [_figures(spec, size.profile if size else None, planned) for planned in counted]
    return PlanView(
        document=document,
        spec=spec,
        steps=spec.steps,
        batch_size=spec.training.batch_size,
        samples=spec.steps * spec.samples_per_step,
        max_bits=spec.precision.max_bits,
        epochs=_epochs(spec, data) if data else None,
        parameters=size.parameters if size else None,
        macs=size.profile.macs if size else None,
        unknown=_unknown(spec, data, counted=bool(figures)),
        runs=[PlannedRun(**run._asdict()) for run in counted[-1][:SHOWN_RUNS]],
        forecast=figures[0] if len(figures) == 1 else None,
        forecast_between=(figures[0], figures[1]) if len(figures) > 1 else None,
    )


def _epochs(spec: JobSpec, data: DatasetSize) -> float:
    an_epoch = steps_per_epoch(spec, data.training_samples)
    if an_epoch == 0:
        message = (
            f"a batch of {spec.samples_per_step} samples is larger than the training split, which has "
            f"{data.training_samples}: lower it"
        )
        raise invalid(FieldProblem(pointer="/training/batch_size", code="batch_too_large", message=message))
    return spec.steps / an_epoch


def _figures(spec: JobSpec, profile: Profile | None, planned: list[Run]) -> Figures:
    found: Forecast = forecast(spec, profile or _UNIT, planned)
    fields: dict[str, Any] = found.model_dump()
    return Figures(**fields | ({} if profile else dict.fromkeys(_SIZED)))


def _unknown(spec: JobSpec, data: DatasetSize | None, *, counted: bool) -> str | None:
    if not counted:
        return "the schedule changes its width too often to be counted here: `cpt plan` counts it"
    if isinstance(spec.model, ExternalModel):
        return f"only the worker knows the size of {spec.model.name}: `cpt plan` counts it where the model is installed"
    if data is None:
        return "the dataset's files decide the model's size: `cpt plan` reads them"
    return None
