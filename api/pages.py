"""Pages of lists, whose cursors are the ids of their rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Protocol, TypeVar

from api.jobs.schemas import Page
from api.problems import FieldProblem, invalid

Row = TypeVar("Row")
Item = TypeVar("Item")

NOT_OF_THIS_LIST = "is no cursor of this list: use next_cursor of the page before"


class Owned(Protocol):
    """A row that belongs to a project."""

    @property
    def project(self) -> str:
        """The project."""


OwnedRow = TypeVar("OwnedRow", bound=Owned)


def page_of(
    rows: Sequence[Row], limit: int, view: Callable[[Row], Item], cursor: Callable[[Row], object] = attrgetter("id")
) -> Page[Item]:
    """A page of `limit` rows. `rows` holds one more if there are more; `cursor` names a row."""
    shown, more = rows[:limit], len(rows) > limit
    return Page(data=[view(row) for row in shown], has_more=more, next_cursor=str(cursor(shown[-1])) if more else None)


def row_at(cursor: str | None, find: Callable[[str], Row | None], message: str = NOT_OF_THIS_LIST) -> Row | None:
    """The row that a cursor names; None: there is no cursor.

    Raises:
        ApiError: the list has no such row.
    """
    if cursor is None:
        return None
    row = find(cursor)
    if row is None:
        raise invalid(FieldProblem(parameter="cursor", code="invalid_cursor", message=message))
    return row


def own(row: OwnedRow | None, project: str) -> OwnedRow | None:
    """The row, if it is of the project."""
    return row if row is not None and row.project == project else None
