"""Workers report themselves; clients see them, and the queues. Each function is one transaction."""

from __future__ import annotations

from datetime import timedelta

from api.db import Database
from api.fleet import repository
from api.fleet.models import Worker
from api.fleet.repository import ONLINE
from api.fleet.schemas import QueueView, WorkerView
from cpt_core.events import now
from cpt_core.lifecycle import State
from cpt_core.protocol import WorkerReport

REMEMBERED = timedelta(hours=1)


def report(database: Database, said: WorkerReport) -> None:
    """A worker is there, or going."""
    at = now()
    with database.write() as session:
        if said.leaving:
            repository.forget(session, name=said.worker)
        else:
            session.merge(
                Worker(
                    name=said.worker,
                    version=said.version,
                    queues=",".join(said.queues),
                    labels=",".join(said.labels),
                    device=said.device,
                    slots=said.slots,
                    devices=said.devices,
                    gangs=said.gangs,
                    seen_at=at,
                )
            )
        repository.forget(session, seen_before=at - REMEMBERED)


def workers(database: Database, project: str) -> list[WorkerView]:
    """All workers, by name, with those of their jobs that are the project's."""
    at = now()
    with database.read() as session:
        known, held = repository.workers(session), repository.held(session)
    return [
        WorkerView(
            name=worker.name,
            online=at - worker.seen_at <= ONLINE,
            seen_at=worker.seen_at,
            version=worker.version,
            device="cuda" if worker.device == "cuda" else "cpu",
            slots=worker.slots,
            devices=worker.devices,
            busy=sum(name == worker.name for name, _, _ in held),
            queues=worker.queues.split(","),
            labels=worker.labels.split(",") if worker.labels else [],
            jobs=[job for name, owner, job in held if name == worker.name and owner == project],
        )
        for worker in known
    ]


def queues(database: Database, project: str) -> list[QueueView]:
    """The queues in which jobs of the project are or workers listen, by name."""
    at = now()
    with database.read() as session:
        rows = repository.open_jobs(session, project)
        listening = [
            name
            for worker in repository.workers(session)
            if at - worker.seen_at <= ONLINE
            for name in worker.queues.split(",")
        ]
    return [
        QueueView(
            name=name,
            queued=sum(count for queue, state, count, _ in rows if (queue, state) == (name, State.QUEUED)),
            running=sum(
                count for queue, state, count, _ in rows if queue == name and state in (State.STARTING, State.RUNNING)
            ),
            paused=sum(count for queue, state, count, _ in rows if (queue, state) == (name, State.PAUSED)),
            oldest_queued_at=next((since for queue, _, _, since in rows if queue == name and since), None),
            workers=listening.count(name),
        )
        for name in sorted({queue for queue, *_ in rows} | set(listening))
    ]
