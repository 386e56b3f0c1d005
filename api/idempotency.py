"""Requests that carry an Idempotency-Key: repeating one creates nothing more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from api.db import Database
from api.problems import ApiError, FieldProblem


class Requested(Protocol):
    """A row that a request created."""

    @property
    def id(self) -> str:
        """Its id."""

    @property
    def request_digest(self) -> str:
        """What tells the request from others with the same key."""


Row = TypeVar("Row", bound=Requested)


def once(
    database: Database,
    key: str | None,
    digest: str,
    find: Callable[[Session, str], Row | None],
    make: Callable[[Session], Row],
) -> tuple[Row, bool]:
    """What `make` creates in one transaction; or, and False, what was created before with the same key.

    Args:
        database: where.
        key: the request's key; null: it has none.
        digest: what tells the request from others.
        find: looks for the row that was created with a key, which is unique in the database.
        make: creates the row.

    Raises:
        ApiError: the key was used for another request.
    """
    try:
        with database.write() as session:
            earlier = find(session, key) if key else None
            if earlier is None:
                return make(session), True
    except IntegrityError:  # the same key, at the same moment
        with database.read() as session:
            earlier = find(session, key or "")
            if earlier is None:
                raise
    if earlier.request_digest != digest:
        message = f"the Idempotency-Key was used for {earlier.id} with another request; use a new key"
        fault = FieldProblem(parameter="Idempotency-Key", code="idempotency_key_reused", message="use a new key")
        raise ApiError(422, "idempotency_key_reused", message, errors=[fault])
    return earlier, False
