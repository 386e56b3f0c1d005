"""What clients can ask about several jobs at once."""

from __future__ import annotations

from collections.abc import Sequence

from api.compare import repository
from api.compare.schemas import Comparison
from api.compare.views import outcomes
from api.db import Database
from api.problems import not_found


def compare(database: Database, project: str, ids: Sequence[str]) -> Comparison:
    """These jobs side by side, in this order.

    Raises:
        ApiError: one of them does not exist.
    """
    with database.read() as session:
        found = {job.id: job for job in repository.jobs(session, project, ids)}
        for job_id in ids:
            if job_id not in found:
                raise not_found(job_id)
        rows = repository.with_attempts(session, [found[job_id] for job_id in ids])
    fields, data = outcomes(rows)
    return Comparison(fields=fields, data=data)
