"""How changes come into the audit log: every transaction that writes says on whose behalf, without being asked.

Who acts is a context variable, set once per request by the dependency that identifies the caller. Sessions that write
look it up when they commit, so a new endpoint cannot forget its entry, and an entry is there exactly if its change is.
A transaction that changed nothing leaves none. What the service does by itself has no actor: it is in the jobs' logs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from sqlalchemy import event
from sqlalchemy.orm import ORMExecuteState, Session, UOWTransaction

from api.audit import repository
from api.db import Database


@dataclass(frozen=True, slots=True)
class Act:
    """Who does what, and from where."""

    action: str
    """Name of the operation, as in /openapi.json."""
    project: str
    """Project of the actor."""
    actor: str
    """Name of the key; `local` without keys, `operator` at the command line."""
    key: str | None = None
    """Id of the key."""
    object: str | None = None
    """What it is done to, if that is known before."""
    address: str | None = None
    """Network address it came from."""
    request_id: str | None = None
    """The request."""


_act: ContextVar[Act | None] = ContextVar("act", default=None)

_CHANGED, _OBJECT, _CREATED, _ASIDE = "audit.changed", "audit.object", "audit.created", "audit.aside"


def begin(act: Act) -> None:
    """From here on this request's transactions are this act's."""
    _act.set(act)


@contextmanager
def acting(act: Act) -> Iterator[None]:
    """The transactions of this block are this act's."""
    token = _act.set(act)
    try:
        yield
    finally:
        _act.reset(token)


def about(session: Session, object_id: str) -> None:
    """Say what a transaction is about, where that is neither in the request's path nor the first thing it made."""
    session.info[_OBJECT] = object_id


def aside(session: Session) -> None:
    """Say that a transaction is the service's own housekeeping, and not yet what the actor asked for."""
    session.info[_ASIDE] = True


def attach(database: Database) -> None:
    """Keep the audit log of a database."""
    event.listen(database.writers, "after_flush", _see_flush)
    event.listen(database.writers, "do_orm_execute", _see_statement)
    event.listen(database.writers, "before_commit", _record)


def _see_flush(session: Session, _context: UOWTransaction) -> None:
    if session.new or session.dirty or session.deleted:
        session.info[_CHANGED] = True
    for made in session.new:
        if isinstance(made_id := getattr(made, "id", None), str):
            session.info.setdefault(_CREATED, made_id)


def _see_statement(state: ORMExecuteState) -> None:
    if not state.is_select:
        state.session.info[_CHANGED] = True


def _record(session: Session) -> None:
    act = _act.get()
    if act is None or session.info.get(_ASIDE) or session.in_nested_transaction():
        return
    session.flush()
    if not session.info.get(_CHANGED):
        return
    subject = session.info.get(_OBJECT) or act.object or session.info.get(_CREATED)
    repository.add(
        session,
        action=act.action,
        project=act.project,
        actor=act.actor,
        key=act.key,
        object=subject,
        address=act.address,
        request_id=act.request_id,
    )
