"""Reading the metrics of a job. Each function is one transaction, but for `export`, which is one for each page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from sqlalchemy import Row

from api.db import Database
from api.jobs.service import find
from api.metrics import repository
from api.metrics.models import BLOCK
from api.metrics.repository import KEYS
from api.metrics.schemas import SampledMetrics
from api.problems import FieldProblem, invalid
from cpt_core.events import MAX_STEP

EXPORT_PAGE = 5000


@dataclass(frozen=True, slots=True)
class Selection:
    """Which metrics: their keys and the range of steps, both ends included."""

    keys: Sequence[str] = KEYS
    from_step: int = 0
    to_step: int = MAX_STEP


def selection(keys: Sequence[str] | None, from_step: int, to_step: int | None) -> Selection:
    """What a client asked for. Keys may be repeated parameters or one with commas; none: all.

    Raises:
        ApiError: there is no such key, or the range is empty.
    """
    asked = [key.strip() for part in keys or [] for key in part.split(",") if key.strip()]
    faults = [
        FieldProblem(
            parameter="keys",
            code="unknown_key",
            message=f"there is no metric {key[:50]!r}; there are {', '.join(KEYS)}",
        )
        for key in asked
        if key not in KEYS
    ]
    last = MAX_STEP if to_step is None else to_step
    if last < from_step:
        message = f"must be at least from_step, {from_step}"
        faults.append(FieldProblem(parameter="to_step", code="empty_range", message=message))
    if faults:
        raise invalid(*faults)
    return Selection(tuple(dict.fromkeys(asked)) or KEYS, from_step, last)


def page(database: Database, project: str, job_id: str, chosen: Selection, *, after: int, limit: int) -> list[Row[Any]]:
    """One step more than `limit` if there are more."""
    with database.read() as session:
        return repository.page(
            session,
            find(session, project, job_id),
            chosen.keys,
            after=after,
            limit=limit + 1,
            from_step=chosen.from_step,
            to_step=chosen.to_step,
        )


def export(
    database: Database, project: str, job_id: str, chosen: Selection, *, after: int, limit: int | None
) -> Iterator[Row[Any]]:
    """All steps, or `limit` of them, read page by page as they are sent.

    Raises:
        ApiError: there is no such job; raised by the call, not by the first step.
    """
    left = MAX_STEP if limit is None else limit
    rows = page(database, project, job_id, chosen, after=after, limit=min(left, EXPORT_PAGE))
    return chain.from_iterable(_pages(database, project, job_id, chosen, rows, left))


def _pages(
    database: Database, project: str, job_id: str, chosen: Selection, rows: list[Row[Any]], left: int
) -> Iterator[list[Row[Any]]]:
    while True:
        size = min(left, EXPORT_PAGE)
        yield rows[:size]
        left -= size
        if len(rows) <= size or not left:
            return
        rows = page(database, project, job_id, chosen, after=rows[size - 1].position, limit=min(left, EXPORT_PAGE))


def sample(database: Database, project: str, job_id: str, chosen: Selection, max_points: int) -> SampledMetrics:
    """At most `max_points` of each key, among them its first, its last and the extremes of equal buckets of steps.

    Raises:
        ApiError: there is no such job.
    """
    keys = chosen.keys
    with database.read() as session:
        job = find(session, project, job_id)
        spans = repository.spans(session, job, chosen.from_step, chosen.to_step)
        first, last = (end(session, job, spans, keys) for end in (repository.first, repository.last))
        if first is None or last is None:
            return SampledMetrics(
                object="metrics.sampled", from_step=None, to_step=None, bucket_steps=1, series={key: [] for key in keys}
            )
        base, width = buckets(first.step, last.step, max_points)
        found = repository.sample(session, job, spans, keys, base=base, width=width)
    points: dict[str, dict[int, float]] = {key: {} for key in keys}
    value: float | None
    for (key, _), extremes in found.items():
        points[key] |= {extremes.low_step: extremes.low, extremes.high_step: extremes.high}
    for row in (first, last):
        for key, value in zip(keys, row[1:], strict=True):
            if value is not None:
                points[key][row.step] = value
    return SampledMetrics(
        object="metrics.sampled",  # said, since what is not is left out of the answer
        from_step=first.step,
        to_step=last.step,
        bucket_steps=width,
        series={key: sorted(values.items()) for key, values in points.items()},
    )


def buckets(first: int, last: int, max_points: int) -> tuple[int, int]:
    """Where the buckets of the steps from `first` to `last` begin, and their width, so that two points of each and the
    two ends are `max_points` at most. Wide ones are made of whole blocks, which need not be read again.
    """
    steps = last - first + 1
    if steps <= max_points:
        return first, 1
    count = (max_points - 2) // 2
    width = -(-steps // count)
    if width < BLOCK:
        return first, width
    base = first // BLOCK * BLOCK
    return base, -(-(last + 1 - base) // (count * BLOCK)) * BLOCK
