"""`cpt watch`: a job as it runs, as a live panel, as plain lines, or as JSON."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NoReturn

import typer
from rich.console import Console

from cpt_client.cli import exits
from cpt_client.cli.output import console, print_json
from cpt_client.client import Client
from cpt_client.errors import CptError
from cpt_client.models import Event, Job
from cpt_client.view.presenter import presenter
from cpt_client.view.status import Status
from cpt_client.view.summary import summary

REFRESH = 1.0
"""Seconds between looks at the job while its steps stream in."""

HISTORY = 5000
"""Steps before the current one that a live panel reads for its curves."""


def watch(job_id: str, *, url: str | None, as_json: bool) -> None:
    """Watch the job until it ends; ends the command with an exit code that tells how."""
    with exits.reporting(), Client(url) as client:
        stay(client, client.get(job_id), as_json=as_json)


def stay(client: Client, job: Job, *, as_json: bool) -> NoReturn:
    """Follow the job and end the command; Ctrl-C stops looking and leaves the job alone."""
    try:
        code = follow(client, job, as_json=as_json)
    except KeyboardInterrupt:
        typer.echo(f"\n{job.id} goes on without you; come back with `cpt watch {job.id}`", err=True)
        code = exits.INTERRUPTED
    raise typer.Exit(code)


def follow(client: Client, job: Job, *, as_json: bool, storage: str | None = None) -> int:
    """Show the job until it ends, then what came of it.

    Args:
        client: the server's client.
        job: the job.
        as_json: print events and the job as JSON, for scripts.
        storage: root of the checkpoints, if known here.

    Returns:
        The exit code: `OK` when the job succeeded, else `FAILED`.
    """
    if as_json:
        for event in client.stream(job.id):
            print_json(event)
        job = client.get(job.id)
        print_json(job)
    else:
        out = console()
        job = _show(client, job, out)
        out.print(summary(job, storage))
    return exits.OK if job.state == "succeeded" else exits.FAILED


def _show(client: Client, job: Job, out: Console) -> Job:
    status = Status(job)
    with presenter(status, out) as show:
        # Cursors count every row of the job's log from 1, so this many rows back there are at least as many steps.
        after = max(0, job.progress.step - (HISTORY if out.is_interactive else 1))
        return _run(client, status, after, show)


def _run(client: Client, status: Status, after: int, show: Callable[[Event | None], None]) -> Job:
    """Feed the job's events behind the cursor `after` to `status` until its end; answers the job as it ended."""

    def disconnected(_error: CptError) -> None:
        status.notice = "connection lost, trying again"
        show(None)

    job_id, looked = status.job.id, time.monotonic()
    for event in client.stream(job_id, after=after, on_disconnect=disconnected):
        status.apply(event)
        if event.type != "step" or time.monotonic() - looked > REFRESH:
            _look(client, status)
            looked = time.monotonic()
        show(event)
    job = client.get(job_id)
    status.update(job)
    return job


def _look(client: Client, status: Status) -> None:
    """Ask for the job again; a server that is away now is the stream's business."""
    try:
        status.update(client.get(status.job.id))
    except CptError as error:
        if not error.is_server_side:
            raise
