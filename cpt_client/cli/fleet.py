"""`cpt queues` and `cpt workers`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from rich.table import Table

from cpt_client.cli import exits
from cpt_client.cli.output import columns, print_list
from cpt_client.client import Client
from cpt_client.models import Queue, Worker
from cpt_client.view import text


def queues(*, url: str | None, as_json: bool) -> None:
    """Print the queues, by name."""
    with exits.reporting(), Client(url) as client:
        nothing = "no queues: no job waits, and no worker is there"
        print_list(client.queues(), _queues, nothing=nothing, as_json=as_json)


def _queues(found: Sequence[Queue]) -> Table:
    now = datetime.now(UTC)
    headings = ("QUEUE", "WAITING", "LONGEST", "RUNNING", "PAUSED", "WORKERS")
    table = columns(*headings, wrapped=headings)
    for queue in found:
        longest = text.age(queue.oldest_queued_at, now) if queue.oldest_queued_at else ""
        counts = (str(queue.running), str(queue.paused), str(queue.workers))
        table.add_row(text.user(queue.name), str(queue.queued), longest, *counts)
    return table


def workers(*, url: str | None, as_json: bool) -> None:
    """Print the workers, by name."""
    with exits.reporting(), Client(url) as client:
        print_list(client.workers(), _workers, nothing="no workers; `cpt worker` starts one", as_json=as_json)


def _workers(found: Sequence[Worker]) -> Table:
    now = datetime.now(UTC)
    headings = ("WORKER", "SEEN", "SLOTS", "DEVICES", "QUEUES", "LABELS", "JOBS")
    table = columns(*headings, wrapped=headings)
    for worker in found:
        table.add_row(
            text.user(worker.name),
            f"{text.age(worker.seen_at, now)} ago" + ("" if worker.online else ", offline"),
            f"{worker.busy} of {worker.slots} in use",
            f"{worker.devices} {text.printable(worker.device)} each",
            text.user(", ".join(worker.queues)),
            text.user(", ".join(worker.labels)),
            text.user(", ".join(worker.jobs)),
        )
    return table
