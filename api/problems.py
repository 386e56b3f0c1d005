"""Errors as RFC 9457 problem documents: one shape for everything that can go wrong."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException

from cpt_core.spec import problem

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"


class FieldProblem(BaseModel):
    """One thing wrong with the request."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    pointer: str | None = None
    """JSON pointer (RFC 6901) to the field of the body."""
    parameter: str | None = None
    """Name of the query, path or header parameter."""
    member: int | None = None
    """Number of the sweep's member at fault, from 0; the first of them if it is the same for several."""
    code: str
    """Stable code of the rule that is broken."""
    message: str
    """What is wrong and what would be right."""


class Problem(BaseModel):
    """What went wrong, for people (`detail`) and programs (`code`)."""

    model_config = ConfigDict(use_attribute_docstrings=True, extra="allow")

    type: str = "about:blank"
    """Always about:blank; `code` tells problems apart."""
    title: str
    """The HTTP status as words."""
    status: int
    """The HTTP status."""
    code: str
    """Stable code of the problem."""
    detail: str
    """A sentence a person can act on."""
    errors: list[FieldProblem] = Field(default_factory=list)
    """The fields at fault, where there are any."""


class ApiError(Exception):
    """An answer other than success; raised anywhere below an endpoint."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        errors: list[FieldProblem] | None = None,
        headers: Mapping[str, str] | None = None,
        **extensions: Any,
    ) -> None:
        super().__init__(detail)
        self.headers = dict(headers or {})
        self.problem = Problem(
            title=HTTPStatus(status).phrase, status=status, code=code, detail=detail, errors=errors or [], **extensions
        )

    def response(self) -> JSONResponse:
        """The answer."""
        body = self.problem.model_dump(mode="json", exclude_none=True)
        return JSONResponse(body, self.problem.status, self.headers, media_type=MEDIA_TYPE)


def not_found(job_id: str) -> ApiError:
    """No such job."""
    return ApiError(404, "job_not_found", f"there is no job {job_id}")


def invalid(*faults: FieldProblem) -> ApiError:
    """These fields of the request are wrong; the first is told in the sentence too."""
    first = faults[0]
    where = first.pointer or first.parameter or "body"
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    return ApiError(422, "invalid_request", f"{where}: {first.message}{more}", errors=list(faults[:100]))


def _field_problem(item: dict[str, Any]) -> FieldProblem:
    place, *loc = item["loc"]
    if item["type"] == "json_invalid":
        reason = item.get("ctx", {}).get("error", "it cannot be parsed")
        return FieldProblem(pointer="", code="json_invalid", message=f"the body is not valid JSON: {reason}")
    if place != "body":
        return FieldProblem(parameter=".".join(map(str, loc)), code=item["type"], message=item["msg"])
    return FieldProblem(**problem(tuple(loc), item["type"], item["msg"], item.get("ctx", {})))


def unavailable() -> ApiError:
    """The database is away."""
    return ApiError(
        503,
        "database_unavailable",
        "the database cannot be reached; nothing was stored, try again",
        headers={"Retry-After": "2"},
    )


def install(app: FastAPI) -> None:
    """Answer every error with a problem document."""

    @app.exception_handler(ApiError)
    def _known(_request: Request, error: ApiError) -> JSONResponse:
        return error.response()

    @app.exception_handler(RequestValidationError)
    def _invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        return invalid(*(_field_problem(item) for item in error.errors())).response()

    @app.exception_handler(HTTPException)
    def _http(_request: Request, error: HTTPException) -> JSONResponse:
        if isinstance(error.__cause__, ValueError):  # FastAPI's answer to a body that json.loads chokes on
            message = f"the body is not valid JSON: {error.__cause__}"
            fault = FieldProblem(pointer="", code="json_invalid", message=message)
            return ApiError(422, "invalid_request", message, errors=[fault]).response()
        code = HTTPStatus(error.status_code).name.lower()
        return ApiError(error.status_code, code, str(error.detail), headers=error.headers).response()

    @app.exception_handler(PoolTimeout)
    @app.exception_handler(DBAPIError)
    def _database(request: Request, error: DBAPIError | PoolTimeout) -> JSONResponse:
        away = isinstance(error, OperationalError | PoolTimeout) or error.connection_invalidated
        logger.warning("database error in %s %s: %s", request.method, request.url.path, error)
        return (unavailable() if away else internal()).response()


def internal() -> ApiError:
    """A defect of ours; the log has the exception, the answer nothing of it."""
    return ApiError(500, "internal", "a defect of the server; its log has the details")


_RETRY_AFTER = {"Retry-After": {"description": "Seconds to wait before trying again.", "schema": {"type": "integer"}}}
_HEADERS: dict[int, dict[str, Any]] = {
    401: {"WWW-Authenticate": {"description": "How to prove who asks: `Bearer`.", "schema": {"type": "string"}}},
    429: _RETRY_AFTER,
    503: _RETRY_AFTER,
}


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of an endpoint that may answer with these error statuses."""
    return {
        status: {
            "model": Problem,
            "description": HTTPStatus(status).phrase,
            "content": {MEDIA_TYPE: {}},
            "headers": _HEADERS.get(status, {}),
        }
        for status in (*statuses, 503)
    }


def describe(document: dict[str, Any]) -> dict[str, Any]:
    """The description of the API with the schema of problems at their media type: FastAPI puts it at that of JSON."""
    for item in document["paths"].values():
        for operation in item.values():
            for answer in operation["responses"].values():
                content = answer.get("content", {})
                if MEDIA_TYPE in content:
                    content[MEDIA_TYPE] = content.pop("application/json")
    return document
