"""HTTP for comparisons."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response

from api.compare import service
from api.compare.schemas import Comparison
from api.compare.table import CSV, CsvWanted, csv_response
from api.deps import Reader, ServicesDep
from api.problems import FieldProblem, documented, invalid

router = APIRouter(prefix="/v1", tags=["compare"])

MAX_JOBS = 50
"""Jobs that can be compared at once."""

_JOB_ID = re.compile(r"job_[0-9a-f]{24}")


def job_ids(
    jobs: Annotated[
        str,
        Query(
            max_length=MAX_JOBS * 32,
            description=f"Ids of the jobs, separated by commas, {MAX_JOBS} at most.",
            examples=["job_0123456789abcdef01234567,job_89abcdef0123456789abcdef"],
        ),
    ],
) -> list[str]:
    """The jobs asked for, each once.

    Raises:
        ApiError: there are none or too many, or one is no id.
    """
    ids = list(dict.fromkeys(part.strip() for part in jobs.split(",") if part.strip()))
    wrong = next((part for part in ids if not _JOB_ID.fullmatch(part)), None)
    if wrong is not None:
        message = f"{wrong!r} is no id of a job: give ids like job_0123456789abcdef01234567, separated by commas"
    elif not 1 <= len(ids) <= MAX_JOBS:
        message = f"give 1 to {MAX_JOBS} ids of jobs, separated by commas, not {len(ids)}"
    else:
        return ids
    raise invalid(FieldProblem(parameter="jobs", code="invalid_jobs", message=message))


@router.get("/compare", response_model=Comparison, responses={200: CSV, **documented(404, 406, 422)})
def compare_jobs(
    ids: Annotated[list[str], Depends(job_ids)], services: ServicesDep, caller: Reader, csv: CsvWanted
) -> Comparison | Response:
    """Jobs side by side: quality, cost, energy, time, and of their specs only what differs.

    Jobs that have not ended are shown with what is known so far. With `Accept: text/csv` as a table, a row for each.
    """
    found = service.compare(services.database, caller.project, ids)
    return csv_response(found.fields, found.data) if csv else found
