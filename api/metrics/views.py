"""Rows of metrics as what clients read: resources, CSV, NDJSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from sqlalchemy import Row

from api.metrics.schemas import MetricView, SampledMetrics

CHUNK = 500
"""Lines that are sent at once."""


def metric_view(row: Row[Any], keys: Sequence[str]) -> MetricView:
    """A step with these keys."""
    return MetricView(
        id=row.position,
        attempt=row.attempt,
        type="step",
        time=row.time,
        step=row.step,
        **{key: getattr(row, key) for key in keys},
    )


def csv_rows(rows: Iterable[Row[Any]], keys: Sequence[str]) -> Iterator[str]:
    """Steps as CSV (RFC 4180) with a header; null is an empty field."""
    lines = ((row.position, row.attempt, row.time.isoformat(), row.step, *row[4:]) for row in rows)
    return _csv(("id", "attempt", "time", "step", *keys), lines)


def csv_points(sampled: SampledMetrics) -> Iterator[str]:
    """Sampled points as CSV, a line each: the series have different steps."""
    return _csv(("key", "step", "value"), _points(sampled))


def ndjson_rows(rows: Iterable[Row[Any]], keys: Sequence[str]) -> Iterator[str]:
    """Steps as JSON objects, one a line."""
    return _chunks(metric_view(row, keys).model_dump_json(exclude_unset=True) + "\n" for row in rows)


def ndjson_points(sampled: SampledMetrics) -> Iterator[str]:
    """Sampled points as JSON objects, one a line."""
    return _chunks(
        json.dumps({"key": key, "step": step, "value": value}) + "\n" for key, step, value in _points(sampled)
    )


def _points(sampled: SampledMetrics) -> Iterator[tuple[str, int, float]]:
    return ((key, step, value) for key, points in sampled.series.items() for step, value in points)


def _csv(header: Sequence[str], lines: Iterable[Sequence[Any]]) -> Iterator[str]:
    def written(part: Iterable[Sequence[Any]]) -> str:
        buffer = io.StringIO()
        csv.writer(buffer).writerows(part)
        return buffer.getvalue()

    yield written([header])
    for part in _batched(lines):
        yield written(part)


def _chunks(lines: Iterable[str]) -> Iterator[str]:
    return ("".join(part) for part in _batched(lines))


def _batched(items: Iterable[Any]) -> Iterator[list[Any]]:
    iterator = iter(items)
    while part := list(islice(iterator, CHUNK)):
        yield part
