"""Rows of the log as what clients read: resources, and messages of a stream."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Row

from api.jobs.models import Event, Job
from api.jobs.schemas import LogEntry
from api.jobs.views import job_view
from api.log.feed import Entry, message
from api.metrics.repository import KEYS
from api.metrics.views import metric_view


def log_entry(row: Event) -> LogEntry:
    """An entry that is no step."""
    return LogEntry(**_flat(row))


def entry(row: Row[Any]) -> Entry:
    """An entry of a job's stream. Its id is its position."""
    if "data" in row._fields:
        kind, data = row.type, json.dumps(_flat(row), separators=(",", ":"), ensure_ascii=False)
    else:
        kind, data = "step", metric_view(row, KEYS).model_dump_json()
    return Entry(row.position, kind, message(kind, data, row.position))


def change(job: Job, *, whole: bool) -> Entry:
    """An entry of a project's stream: the job as it is. It has an id if it is the `whole` of its stamp."""
    return Entry(job.changed, "job", message("job", job_view(job).model_dump_json(), job.changed if whole else None))


def _flat(row: Event | Row[Any]) -> dict[str, Any]:
    return {"id": row.position, "attempt": row.attempt, **json.loads(row.data)}
