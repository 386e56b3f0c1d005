"""Answers as CSV, to clients that accept it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import Depends, Header, Response

from api.compare.schemas import Outcome
from api.compare.views import as_csv
from api.negotiation import negotiate

CSV: dict[str, Any] = {"description": "OK", "content": {"text/csv": {"schema": {"type": "string"}}}}
"""What the OpenAPI document says of an answer that can also be CSV."""


def csv_wanted(
    response: Response, accept: Annotated[str | None, Header(description="application/json or text/csv.")] = None
) -> bool:
    """Whether the client prefers a table.

    Raises:
        ApiError: it accepts neither.
    """
    response.headers["Vary"] = "Accept"
    return negotiate(accept, ("application/json", "text/csv")) == "text/csv"


CsvWanted = Annotated[bool, Depends(csv_wanted)]


def csv_response(fields: Sequence[str], rows: Sequence[Outcome]) -> Response:
    """The outcomes as a table."""
    return Response(
        as_csv(fields, rows), media_type="text/csv; charset=utf-8; header=present", headers={"Vary": "Accept"}
    )
