"""`cpt queues` and `cpt workers`."""

from __future__ import annotations

from datetime import UTC, datetime

import typer
from rich.table import Table

from cpt_client.cli import exits
from cpt_client.cli.output import console, print_json
from cpt_client.client import Client
from cpt_client.view import text


def queues(*, url: str | None, as_json: bool) -> None:
    """Print the queues, by name."""
    with exits.reporting(), Client(url) as client:
        found = list(client.queues())
    if as_json:
        for queue in found:
            print_json(queue)
        return
    now = datetime.now(UTC)
    table = _table("QUEUE", "WAITING", "LONGEST", "RUNNING", "PAUSED", "WORKERS")
    for queue in found:
        longest = text.age(queue.oldest_queued_at, now) if queue.oldest_queued_at else ""
        counts = (str(queue.running), str(queue.paused), str(queue.workers))
        table.add_row(text.user(queue.name), str(queue.queued), longest, *counts)
    _show(table, "no queues: no job waits, and no worker is there")


def workers(*, url: str | None, as_json: bool) -> None:
    """Print the workers, by name."""
    with exits.reporting(), Client(url) as client:
        found = list(client.workers())
    if as_json:
        for worker in found:
            print_json(worker)
        return
    now = datetime.now(UTC)
    table = _table("WORKER", "SEEN", "SLOTS", "DEVICES", "QUEUES", "LABELS", "JOBS")
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
    _show(table, "no workers; `cpt worker` starts one")


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in headings:
        table.add_column(heading)
    return table


def _show(table: Table, nothing: str) -> None:
    if table.row_count:
        console().print(table)
    else:
        typer.echo(nothing)
