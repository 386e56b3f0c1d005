"""Rows of sweeps and their members as the resources that clients see."""

from __future__ import annotations

import json
from collections.abc import Sequence

from pydantic import JsonValue

from api.compare.schemas import Outcome, Quality
from api.compare.views import outcomes
from api.jobs.models import Attempt, Job
from api.sweeps.models import Sweep
from api.sweeps.repository import Tally
from api.sweeps.schemas import Configuration, SweepProgress, SweepResults, SweepView
from api.sweeps.state import is_final, state_of
from cpt_core.events import Result
from cpt_core.seeds import Summary, summarize

SEED = "/training/seed"

_ORDER = ("accuracy", "perplexity", "loss")


def sweep_view(sweep: Sweep, tally: Tally) -> SweepView:
    """A sweep."""
    return SweepView(
        id=sweep.id,
        name=sweep.name,
        state=state_of(tally.counts),
        counts=tally.counts,
        progress=SweepProgress(
            steps_done=tally.steps_done, steps=sweep.steps, fraction=min(1.0, tally.steps_done / sweep.steps)
        ),
        created_at=sweep.created_at,
        started_at=tally.started_at,
        finished_at=tally.finished_at if is_final(tally.counts) else None,
        members=tally.members,
        **json.loads(sweep.request),
    )


def sweep_results(sweep: Sweep, tally: Tally, rows: Sequence[tuple[Job, Sequence[Attempt]]]) -> SweepResults:
    """What came of the members, the best first."""
    pointers, found = outcomes(rows)
    results = {job.id: Result.model_validate_json(job.result) for job, _attempts in rows if job.result is not None}
    return SweepResults(
        sweep=sweep.id,
        state=state_of(tally.counts),
        fields=pointers,
        configurations=_configurations(found, results),
        data=sorted(found, key=lambda outcome: _rank(outcome.quality)),
    )


def _rank(quality: Quality | None) -> tuple[int, int, float]:
    """Sorts final quality first, then provisional, then none; the best first."""
    if quality is None:
        return 2, 0, 0.0
    better_higher = quality.name == "accuracy"
    return int(not quality.final), _ORDER.index(quality.name), -quality.value if better_higher else quality.value


def _configurations(found: Sequence[Outcome], results: dict[str, Result]) -> list[Configuration]:
    groups: dict[str, list[Outcome]] = {}
    for outcome in found:
        groups.setdefault(json.dumps(_without_seed(outcome.fields), sort_keys=True), []).append(outcome)
    configurations = []
    for group in groups.values():
        ended = [results[outcome.job] for outcome in group if outcome.job in results]
        configurations.append(
            Configuration(
                fields=_without_seed(group[0].fields),
                jobs=[outcome.job for outcome in group],
                summary=summarize(ended) if ended else None,
            )
        )
    return sorted(configurations, key=_mean_rank)


def _without_seed(fields: dict[str, JsonValue]) -> dict[str, JsonValue]:
    return {pointer: value for pointer, value in fields.items() if pointer != SEED}


def _mean_rank(configuration: Configuration) -> tuple[int, float]:
    """The same order for means; those without a result last."""
    summary: Summary | None = configuration.summary
    for place, name in enumerate(_ORDER):
        spread = getattr(summary, name) if summary is not None else None
        if spread is not None:
            return place, -spread.mean if name == "accuracy" else spread.mean
    return len(_ORDER), 0.0
