"""A job's log as rows of named figures, by the same names in every tool."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from cpt_client.models import Event, Job

STEP = {
    "loss": "training/loss",
    "accuracy": "training/accuracy",
    "lr": "training/lr",
    "epoch": "training/epoch",
    "samples_per_second": "training/samples_per_second",
    "forward_bits": "precision/forward_bits",
    "backward_bits": "precision/backward_bits",
    "gbitops": "cost/gbitops",
    "modelled_joules": "energy/modelled_joules",
    "energy_joules": "energy/measured_joules",
}
"""Fields of a step by the names of their figures: what stands before the slash is a section in the tools."""

EVALUATION = {name: f"test/{name}" for name in ("loss", "accuracy", "top5_accuracy", "perplexity", "bits")}
"""Fields of an evaluation by the names of their figures."""

RESULT = {
    "loss": "result/loss",
    "accuracy": "result/accuracy",
    "perplexity": "result/perplexity",
    "gbitops": "result/gbitops",
    "modelled_joules": "result/modelled_joules",
    "energy_joules": "result/measured_joules",
}
"""Fields of a result by the names of their figures."""


@dataclass(frozen=True, slots=True)
class Row:
    """Figures at a step: its 0-based index for a step's own, the steps completed for an evaluation's and a result's."""

    kind: Literal["step", "evaluation", "result"]
    step: int
    time: datetime
    figures: Mapping[str, float]


def of_step(event: Event) -> Row:
    """The row of a step."""
    return Row("step", int(event.fields["step"]), _time(event), _figures(STEP, event.fields))


def of_evaluation(event: Event) -> Row:
    """The row of an evaluation."""
    return Row("evaluation", int(event.fields["step"]), _time(event), _figures(EVALUATION, event.fields))


def of_result(job: Job) -> Row | None:
    """The row of what came of a job that succeeded."""
    if job.result is None:
        return None
    at = job.finished_at or datetime.now(UTC)
    return Row("result", job.progress.steps, at, _figures(RESULT, job.result.model_dump()))


def _figures(names: Mapping[str, str], fields: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(fields[key]) for key, name in names.items() if fields.get(key) is not None}


def _time(event: Event) -> datetime:
    return event.time or datetime.now(UTC)


def flat(document: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The fields of a spec by their dotted paths."""
    found: dict[str, Any] = {}
    for name, value in document.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found
