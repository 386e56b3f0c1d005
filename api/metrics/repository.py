"""All SQL of metrics: pages of steps, and extremes over buckets of steps out of blocks and rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import ColumnElement, Row, and_, case, func, insert, or_, select
from sqlalchemy.orm import Session

from api.jobs.models import Attempt, Job, Metric
from api.metrics.models import BLOCK, MetricBlock

KEYS = (
    "epoch",
    "forward_bits",
    "backward_bits",
    "loss",
    "accuracy",
    "lr",
    "samples_per_second",
    "gbitops",
    "modelled_joules",
    "energy_joules",
    "step_gbitops",
    "step_modelled_joules",
    "step_energy_joules",
)
"""What can be asked for of a step: the columns of `Metric` with a figure."""

ALWAYS_SET = "loss"
"""A key that every step has a value of."""


@dataclass(frozen=True, slots=True)
class Span:
    """Steps of one attempt, from `start` up to but not including `stop`."""

    attempt: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Extremes:
    """Smallest and largest value of a key in a bucket, and the first steps that have them."""

    low: float
    low_step: int
    high: float
    high_step: int

    def join(self, other: Extremes) -> Extremes:
        """The extremes of both together."""
        low = min((self.low, self.low_step), (other.low, other.low_step))
        high = min((-self.high, self.high_step), (-other.high, other.high_step))
        return Extremes(*low, -high[0], high[1])


ENDS = (("low", func.min), ("high", func.max))

Buckets = dict[tuple[str, int], Extremes]
"""By key and number of the bucket."""


def page(
    session: Session,
    job: Job,
    keys: Sequence[str],
    *,
    after: int,
    limit: int,
    from_step: int | None = None,
    to_step: int | None = None,
) -> list[Row[Any]]:
    """Steps in order with these keys, each once: what a later attempt ran again is left out of the earlier one."""
    columns = [Metric.position, Metric.attempt, Metric.time, Metric.step, *(getattr(Metric, key) for key in keys)]
    query = (
        select(*columns)
        .join(Attempt, (Attempt.job == Metric.job) & (Attempt.attempt == Metric.attempt))
        .where(
            Metric.job == job.pk,
            Metric.position > after,
            or_(Attempt.end_step.is_(None), Metric.step < Attempt.end_step),
        )
        .order_by(Metric.position)
        .limit(limit)
    )
    if from_step is not None:
        query = query.where(Metric.step >= from_step)
    if to_step is not None:
        query = query.where(Metric.step <= to_step)
    return list(session.execute(query))


def spans(session: Session, job: Job, from_step: int, to_step: int) -> list[Span]:
    """The steps that count from `from_step` to `to_step`, by the attempt that ran them, in order."""
    query = (
        select(Attempt.attempt, Attempt.end_step, Attempt.step).where(Attempt.job == job.pk).order_by(Attempt.attempt)
    )
    found = (
        Span(attempt, from_step, min(done if end is None else end, done, to_step + 1))
        for attempt, end, done in session.execute(query)
    )
    return [span for span in found if span.start < span.stop]


def first(session: Session, job: Job, spans: Sequence[Span], keys: Sequence[str]) -> Row[Any] | None:
    """The first row of the spans: its step, then the keys."""
    return _end(session, job, spans, keys, Metric.step.asc())


def last(session: Session, job: Job, spans: Sequence[Span], keys: Sequence[str]) -> Row[Any] | None:
    """The last row of the spans: its step, then the keys."""
    return _end(session, job, spans[::-1], keys, Metric.step.desc())


def _end(
    session: Session, job: Job, spans: Sequence[Span], keys: Sequence[str], order: ColumnElement[int]
) -> Row[Any] | None:
    columns = [Metric.step, *(getattr(Metric, key) for key in keys)]
    for span in spans:
        query = select(*columns).where(Metric.job == job.pk, _within(span)).order_by(order).limit(1)
        if row := session.execute(query).one_or_none():
            return row
    return None


def sample(session: Session, job: Job, spans: Sequence[Span], keys: Sequence[str], *, base: int, width: int) -> Buckets:
    """Extremes of the keys over buckets of `width` steps, counted from step `base` on.

    Whole blocks are not read again where buckets are made of whole blocks: `base` and `width` multiples of `BLOCK`.
    """
    if width % BLOCK or base % BLOCK:
        return _from_rows(session, job.pk, spans, keys, base=base, width=width)
    blocks, rows = _split(spans, _rolled(session, job))
    found = _from_blocks(session, job.pk, blocks, keys, base=base, width=width)
    for place, extremes in _from_rows(session, job.pk, rows, keys, base=base, width=width).items():
        _add(found, place, extremes)
    return found


def _add(buckets: Buckets, place: tuple[str, int], extremes: Extremes) -> None:
    buckets[place] = buckets[place].join(extremes) if place in buckets else extremes


def _rolled(session: Session, job: Job) -> dict[int, tuple[int, int]]:
    """First and last block of each attempt; those between are there too."""
    query = (
        select(MetricBlock.attempt, func.min(MetricBlock.block), func.max(MetricBlock.block))
        .where(MetricBlock.job == job.pk, MetricBlock.key == ALWAYS_SET)
        .group_by(MetricBlock.attempt)
    )
    return {attempt: (start, stop) for attempt, start, stop in session.execute(query)}


def _split(spans: Sequence[Span], rolled: dict[int, tuple[int, int]]) -> tuple[list[Span], list[Span]]:
    """Which steps are whole blocks that have been rolled up, and which are not."""
    blocks, rows = [], []
    for span in spans:
        first, last = rolled.get(span.attempt, (0, -1))
        start = max(-(-span.start // BLOCK), first) * BLOCK
        stop = min(span.stop // BLOCK, last + 1) * BLOCK
        if start >= stop:
            rows.append(span)
            continue
        blocks.append(Span(span.attempt, start, stop))
        rows += [Span(span.attempt, span.start, start), Span(span.attempt, stop, span.stop)]
    return blocks, [span for span in rows if span.start < span.stop]


def _from_blocks(
    session: Session, job: int, spans: Sequence[Span], keys: Sequence[str], *, base: int, width: int
) -> Buckets:
    if not spans:
        return {}
    bucket = ((MetricBlock.block - base // BLOCK) // (width // BLOCK)).label("bucket")
    inside = or_(
        *(
            and_(
                MetricBlock.attempt == span.attempt,
                MetricBlock.block >= span.start // BLOCK,
                MetricBlock.block < span.stop // BLOCK,
            )
            for span in spans
        )
    )
    points = (
        select(
            MetricBlock.key,
            bucket,
            MetricBlock.low,
            MetricBlock.low_step,
            MetricBlock.high,
            MetricBlock.high_step,
            func.min(MetricBlock.low).over(partition_by=(MetricBlock.key, bucket)).label("lowest"),
            func.max(MetricBlock.high).over(partition_by=(MetricBlock.key, bucket)).label("highest"),
        )
        .where(MetricBlock.job == job, MetricBlock.key.in_(keys), inside)
        .subquery()
    )
    query = select(
        points.c.key,
        points.c.bucket,
        func.min(points.c.low),
        func.min(case((points.c.low == points.c.lowest, points.c.low_step))),
        func.max(points.c.high),
        func.min(case((points.c.high == points.c.highest, points.c.high_step))),
    ).group_by(points.c.key, points.c.bucket)
    return {(key, number): Extremes(*figures) for key, number, *figures in session.execute(query)}


def _from_rows(
    session: Session, job: int, spans: Sequence[Span], keys: Sequence[str], *, base: int, width: int
) -> Buckets:
    if not spans:
        return {}
    bucket = ((Metric.step - base) // width).label("bucket")
    ends = [function(getattr(Metric, key)).label(f"{name}_{key}") for key in keys for name, function in ENDS]
    extremes = (
        select(Metric.attempt, bucket, func.min(Metric.step).label("start"), func.max(Metric.step).label("stop"), *ends)
        .where(Metric.job == job, or_(*(_within(span) for span in spans)))
        .group_by(Metric.attempt, bucket)
        .cte("extremes")
    )
    figures: list[ColumnElement[Any]] = []
    for key in keys:
        for name, _ in ENDS:
            extreme = extremes.c[f"{name}_{key}"]
            figures += [func.min(extreme), func.min(case((getattr(Metric, key) == extreme, Metric.step)))]
    same = and_(
        Metric.job == job,
        Metric.attempt == extremes.c.attempt,
        Metric.step.between(extremes.c.start, extremes.c.stop),  # by the index, unlike the bucket's number
    )
    query = select(extremes.c.bucket, *figures).join(Metric, same).group_by(extremes.c.attempt, extremes.c.bucket)
    found: Buckets = {}
    for number, *row in session.execute(query):
        for index, key in enumerate(keys):
            low, low_step, high, high_step = row[4 * index : 4 * index + 4]
            if low is not None:
                _add(found, (key, number), Extremes(low, low_step, high, high_step))
    return found


def roll_up(session: Session, job: int, attempt: int, first_step: int, last_step: int) -> None:
    """Steps of an attempt have been stored: remember the extremes of the blocks that they complete."""
    stop = (last_step + 1) // BLOCK
    if first_step // BLOCK >= stop:
        return
    before = select(func.max(Metric.step)).where(Metric.job == job, Metric.attempt == attempt, Metric.step < first_step)
    expected = session.scalar(before)
    start = first_step // BLOCK if expected is None else (expected + 1) // BLOCK
    span = Span(attempt, start * BLOCK, stop * BLOCK)
    found = _from_rows(session, job, [span], KEYS, base=0, width=BLOCK)
    rows = [
        {"job": job, "key": key, "attempt": attempt, "block": block, **asdict(extremes)}
        for (key, block), extremes in found.items()
    ]
    session.execute(insert(MetricBlock), rows)


def _within(span: Span) -> ColumnElement[bool]:
    return and_(Metric.attempt == span.attempt, Metric.step >= span.start, Metric.step < span.stop)
