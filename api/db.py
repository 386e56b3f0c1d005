"""The database: one engine, sessions that read and sessions that write, on SQLite and PostgreSQL alike."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, DateTime, Dialect, Engine, create_engine, event, make_url
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import DeclarativeBase, Session, sessionmaker
from sqlalchemy.types import TypeDecorator

from cpt_core import tracing

BUSY_TIMEOUT_SECONDS = 10
STATEMENT_TIMEOUT_MS = 30_000


class Base(DeclarativeBase):
    """Base of all tables."""


class UtcDateTime(TypeDecorator[datetime]):
    """An aware datetime, stored in UTC. SQLite has no time zones, so there it is stored without."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To the database."""
        if value is None:
            return None
        utc = value.astimezone(UTC)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """From the database."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if dialect.name == "sqlite" else value.astimezone(UTC)


class ChangeStamp(ColumnElement[int]):
    """A number that orders changes to `jobs` as they are committed, for readers that look for what is new.

    On PostgreSQL the transaction's: it is not in the order of commits, but a reader knows from the snapshot which are
    over. On SQLite writers are one after the other: milliseconds since 1970, or one more than the latest.
    """

    type = BigInteger()
    inherit_cache = True


@compiles(ChangeStamp, "postgresql")
def _transaction(_element: ChangeStamp, _compiler: Any, **_options: Any) -> str:
    return "pg_current_xact_id()::text::bigint"


@compiles(ChangeStamp, "sqlite")
def _one_more(_element: ChangeStamp, _compiler: Any, **_options: Any) -> str:
    milliseconds = "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)"
    return f"max({milliseconds}, (SELECT coalesce(max(changed), 0) + 1 FROM jobs))"  # noqa: S608 - constants


class Database:
    """Sessions on one database. No network call belongs inside one."""

    def __init__(self, url: str, *, patience: float = BUSY_TIMEOUT_SECONDS) -> None:
        """`patience`: how many seconds SQLite's lock is waited for before the database counts as away."""
        self.engine = make_engine(url, patience)
        self._kind = self.engine.dialect.name
        self._read = sessionmaker(self.engine, expire_on_commit=False)
        self.writers = sessionmaker(self.engine.execution_options(cpt_write=True), expire_on_commit=False)
        """Makes the sessions that write; `api.audit.recorder` listens to them."""

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A transaction that sees one state of the database."""
        with tracing.leaf("read", database=self._kind), self._read() as session, session.begin():
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A transaction that commits at the end, or rolls back on an exception."""
        with tracing.leaf("write", database=self._kind), self.writers() as session, session.begin():
            yield session

    def close(self) -> None:
        """Give all connections back."""
        self.engine.dispose()


def make_engine(url: str, patience: float = BUSY_TIMEOUT_SECONDS) -> Engine:
    """The engine for a URL, with what each database needs for durable commits. For `patience` see `Database`."""
    backend = make_url(url).get_backend_name()
    if backend == "sqlite":
        engine = create_engine(
            url,
            connect_args={"timeout": patience},
            pool_size=20,
            max_overflow=40,
            hide_parameters=True,
        )
        event.listen(engine, "connect", _sqlite_connect)
        event.listen(engine, "begin", _sqlite_begin)
        return engine
    if backend == "postgresql":
        return create_engine(
            url,
            pool_size=20,
            max_overflow=40,
            pool_timeout=10,
            pool_pre_ping=True,
            hide_parameters=True,  # errors are logged, and values are none of a log's business
            connect_args={
                "connect_timeout": 5,
                "client_encoding": "utf8",  # else a server with SQL_ASCII answers bytes
                "options": f"-c synchronous_commit=on -c statement_timeout={STATEMENT_TIMEOUT_MS}",
            },
        )
    raise ValueError(f"CPT_DATABASE_URL: {backend} is not supported; use sqlite or postgresql+psycopg")


def _sqlite_connect(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # BEGIN is ours, see _sqlite_begin
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _sqlite_begin(connection: Any) -> None:
    # A writer takes the lock at once: upgrading a read lock later fails without waiting when another has written.
    write = connection.get_execution_options().get("cpt_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")
