"""The checks of `GET /v1/doctor`. Each stands on its own: what is wrong with one part hides no other's state."""

from __future__ import annotations

import io
import secrets
import shutil
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Literal

from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from api.broker import Bells
from api.db import Database
from api.doctor import repository
from api.doctor.schemas import CheckView, ReportView, Status
from api.fleet import repository as fleet
from api.fleet.models import Worker
from api.fleet.repository import ONLINE
from cpt_core import __version__
from cpt_core.events import now
from cpt_core.storage import Storage, StorageError
from cpt_core.storage.local import LocalStorage
from migrations import head_revision

ORDER: tuple[Status, ...] = ("ok", "warning", "failed")

CLOCK_TOLERANCE = timedelta(seconds=2)
"""Difference between the API's clock and the database's from which deadlines and lists look odd."""

LOW_SPACE = 2 * 1000**3
"""Free bytes of a storage folder below which there is a warning."""


def revision(database: Database) -> str | None:
    """The migration at which the database is; None: it is empty."""
    with database.read() as session:
        return repository.revision(session)


def report(database: Database, bells: Bells, storage: Storage) -> ReportView:
    """All checks, one after the other: a part that is away takes the seconds of its time-out."""
    checks = [
        _database(database),
        _broker(bells),
        _of_database("workers", lambda: _workers(database)),
        _storage(storage),
        _of_database("clock", lambda: _clock(database)),
    ]
    worst = max((check.status for check in checks), key=ORDER.index)
    return ReportView(status=worst, time=now(), version=__version__, checks=checks)


def _of_database(name: Literal["workers", "clock"], check: Callable[[], CheckView]) -> CheckView:
    """The check, or that the database does not let it be made."""
    try:
        return check()
    except SQLAlchemyError:
        return CheckView(
            name=name,
            status="failed",
            message="unknown: the database does not answer",
            remedy="see the check of the database",
        )


def _database(database: Database) -> CheckView:
    kind = database.engine.dialect.name
    try:
        began = time.perf_counter()
        found, needed = revision(database), head_revision()
        took = 1000 * (time.perf_counter() - began)
    except SQLAlchemyError as error:
        why = str(error.__cause__ or error).strip().splitlines()[0]
        remedy = "start it, and see that CPT_DATABASE_URL of the API names it"
        return CheckView(name="database", status="failed", message=f"{kind} does not answer: {why}", remedy=remedy)
    if found == needed:
        message = f"{kind} answers in {took:.0f} ms and is at revision {found}"
        return CheckView(name="database", status="ok", message=message)
    message = f"{kind} is at revision {found or 'none'}, this server needs {needed}"
    if found is not None and found > needed:  # it serves all the same while an upgrade lasts, see `readyz`
        remedy = "upgrade this server: a newer version has changed its database"
        return CheckView(name="database", status="warning", message=message, remedy=remedy)
    remedy = "run `cpt api migrate` with the API's settings"
    return CheckView(name="database", status="failed", message=message, remedy=remedy)


def _broker(bells: Bells) -> CheckView:
    try:
        took = 1000 * bells.ping()
    except (RedisError, OSError) as error:
        return CheckView(
            name="broker",
            status="failed",
            message=f"the broker does not answer ({error}): nothing is lost, but no worker hears of new jobs",
            remedy="start Redis or Valkey, and see that CPT_BROKER_URL of API and workers names it",
        )
    return CheckView(name="broker", status="ok", message=f"answers in {took:.0f} ms")


def _workers(database: Database) -> CheckView:
    at = now()
    with database.read() as session:
        known, waiting = fleet.workers(session), dict(repository.waiting(session))
    online = [worker for worker in known if at - worker.seen_at <= ONLINE]
    silent = [worker.name for worker in known if worker not in online]
    heard = {queue for worker in online for queue in worker.queues.split(",")}
    deaf = sorted(waiting.keys() - heard)
    if not online:
        message = f"none is online{_last_seen(known)}, and {sum(waiting.values())} jobs wait"
        remedy = "start one with `cpt worker`; its log says why it ends or cannot reach the API"
        return CheckView(name="workers", status="failed", message=message, remedy=remedy)
    message = f"{len(online)} online: {', '.join(map(_describe, online))}"
    if deaf:
        message += f"; jobs wait in queues that none of them takes: {', '.join(deaf)}"
        return CheckView(name="workers", status="warning", message=message, remedy="start a worker with CPT_QUEUES")
    if silent:
        message += f"; not heard of: {', '.join(silent)}"
        remedy = "look at their logs; one that is gone for good is forgotten after an hour"
        return CheckView(name="workers", status="warning", message=message, remedy=remedy)
    if old := [worker.name for worker in online if worker.version != __version__]:
        message += f"; of another version than this server ({__version__}): {', '.join(old)}"
        return CheckView(name="workers", status="warning", message=message, remedy="upgrade them")
    return CheckView(name="workers", status="ok", message=message)


def _last_seen(known: list[Worker]) -> str:
    if not known:
        return ""
    last = max(known, key=lambda worker: worker.seen_at)
    return f" ({last.name} was last heard of at {last.seen_at:%H:%M:%S} UTC)"


def _describe(worker: Worker) -> str:
    return f"{worker.name} ({worker.slots} x {worker.devices} {worker.device})"


def _storage(storage: Storage) -> CheckView:
    path, content = f"doctor/{secrets.token_hex(8)}", secrets.token_bytes(64)
    try:
        storage.put(path, io.BytesIO(content))
        is_whole = storage.read(path) == content
        storage.delete(path)
    except StorageError as error:
        remedy = "see that CPT_STORAGE_URL names a place that API and workers may write to, with space left"
        return CheckView(name="storage", status="failed", message=str(error), remedy=remedy)
    if not is_whole:
        message = f"{storage.url} answers something else than what was written to it"
        return CheckView(name="storage", status="failed", message=message, remedy="check its file system or store")
    message = f"{storage.url} can be written and read"
    if isinstance(storage, LocalStorage):
        free = shutil.disk_usage(Path(storage.url)).free
        message += f", {free / 1000**3:.1f} GB are free"
        if free < LOW_SPACE:
            remedy = "free some space: delete jobs that are not needed (`cpt delete`)"
            return CheckView(name="storage", status="warning", message=message, remedy=remedy)
    return CheckView(name="storage", status="ok", message=message)


def _clock(database: Database) -> CheckView:
    with database.read() as session:
        theirs, ours = repository.clock(session), now()
    if theirs is None:
        return CheckView(name="clock", status="ok", message="the database has the API's own")
    difference = abs(theirs - ours)
    message = f"API and database differ by {difference.total_seconds():.1f} s"
    if difference > CLOCK_TOLERANCE:
        remedy = "let NTP (chrony, systemd-timesyncd) set the clocks of both machines"
        return CheckView(name="clock", status="warning", message=message, remedy=remedy)
    return CheckView(name="clock", status="ok", message=message)
