"""Rows of jobs as outcomes, and outcomes as a table."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from datetime import datetime

from pydantic import JsonValue

from api.compare.differences import differences
from api.compare.schemas import EnergyFigures, Outcome, Quality
from api.jobs.models import Attempt, Job
from api.jobs.schemas import Cost, EvaluationView, JobView
from api.jobs.views import job_view
from cpt_core.events import Result, now


def outcomes(rows: Sequence[tuple[Job, Sequence[Attempt]]]) -> tuple[list[str], list[Outcome]]:
    """The pointers at which the jobs' specs differ, and what came of each job with its attempts."""
    views = [job_view(job) for job, _attempts in rows]
    pointers, values = differences([view.spec.model_dump(mode="json") for view in views])
    time = now()
    return pointers, [
        _outcome(view, attempts, fields, time)
        for view, (_job, attempts), fields in zip(views, rows, values, strict=True)
    ]


def _outcome(view: JobView, attempts: Sequence[Attempt], fields: dict[str, JsonValue], time: datetime) -> Outcome:
    result, energy = view.result, None
    if result is not None:
        energy = EnergyFigures(modelled_joules=result.modelled_joules, energy_joules=result.energy_joules)
    elif view.energy is not None:
        energy = EnergyFigures(modelled_joules=view.energy.modelled.joules, energy_joules=view.energy.measured.joules)
    spans = [((row.ended_at or time) - row.claimed_at).total_seconds() for row in attempts]
    return Outcome(
        job=view.id,
        name=view.name,
        state=view.state,
        progress=view.progress,
        fields=fields,
        quality=_quality(result or view.evaluation, final=result is not None),
        cost=_final_cost(result) if result is not None else view.cost,
        energy=energy,
        seconds=sum(max(0.0, span) for span in spans) if spans else None,
    )


def _quality(taken: Result | EvaluationView | None, *, final: bool) -> Quality | None:
    if taken is None or taken.bits is None or taken.loss is None:
        return None
    common = {"bits": taken.bits, "averaged": taken.averaged, "final": final}
    if taken.accuracy is not None:
        return Quality(name="accuracy", value=taken.accuracy, **common)
    if taken.perplexity is not None:
        return Quality(name="perplexity", value=taken.perplexity, **common)
    return Quality(name="loss", value=taken.loss, **common)


def _final_cost(result: Result) -> Cost:
    def saved(total: float) -> float:
        return 1 - result.gbitops / total if total else 0.0

    return Cost(
        gbitops=result.gbitops,
        gbitops_static=result.gbitops_static,
        gbitops_fp32=result.gbitops_fp32,
        saved_vs_static=saved(result.gbitops_static),
        saved_vs_fp32=saved(result.gbitops_fp32),
    )


FIGURES = (
    "quality",
    "value",
    "bits",
    "final",
    "gbitops",
    "saved_vs_static",
    "saved_vs_fp32",
    "modelled_joules",
    "energy_joules",
    "seconds",
)
"""Columns of a table of outcomes behind those of the fields."""


def as_csv(pointers: Sequence[str], rows: Sequence[Outcome]) -> str:
    """Outcomes as CSV (RFC 4180) with a header. What is not known is empty; lists and objects are JSON."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["job", "name", "state", *pointers, *FIGURES])
    for row in rows:
        writer.writerow(
            [
                row.job,
                row.name,
                row.state,
                *(_cell(row.fields[p]) if p in row.fields else "" for p in pointers),
                *_figures(row),
            ]
        )
    return out.getvalue()


def _figures(row: Outcome) -> list[object]:
    quality, cost, energy = row.quality, row.cost, row.energy
    return [
        *((quality.name, quality.value, quality.bits, _cell(quality.final)) if quality else [None] * 4),
        *((cost.gbitops, cost.saved_vs_static, cost.saved_vs_fp32) if cost else [None] * 3),
        *((energy.modelled_joules, energy.energy_joules) if energy else [None] * 2),
        row.seconds,
    ]


def _cell(value: JsonValue) -> object:
    """JSON, but for strings, which stand for themselves."""
    return value if isinstance(value, str) else json.dumps(value)
