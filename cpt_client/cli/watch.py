"""`cpt watch`: a job as it runs, as a live panel, as plain lines, or as JSON."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from typing import NoReturn

import typer
from rich.console import Console
from rich.live import Live
from rich.text import Text

from cpt_client.cli import exits
from cpt_client.cli.output import console, print_json
from cpt_client.client import Client
from cpt_client.errors import CptError
from cpt_client.models import Event, Job
from cpt_client.view import text
from cpt_client.view.status import Status
from cpt_client.view.summary import summary

REFRESH = 1.0
"""Seconds between looks at the job while its steps stream in."""

PLAIN_EVERY = 10.0
"""Seconds between two lines about progress when the output is no terminal."""

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


def follow(client: Client, job: Job, *, as_json: bool) -> int:
    """Show the job until it ends, then what came of it.

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
        job = _live(client, job, out) if out.is_terminal else _plain(client, job, out)
        out.print(summary(job))
    return exits.OK if job.state == "succeeded" else exits.FAILED


def _live(client: Client, job: Job, out: Console) -> Job:
    status = Status(job)
    with Live(status, console=out, refresh_per_second=8, vertical_overflow="visible") as live:

        def say(line: Text) -> None:
            live.console.print(line)

        # Cursors count every row of the job's log from 1, so this many rows back there are at least as many steps.
        after = max(0, job.progress.step - HISTORY)
        return _run(client, status, after, say, lambda: None)


def _plain(client: Client, job: Job, out: Console) -> Job:
    status = Status(job)
    next_line = time.monotonic()

    def say(line: Text) -> None:
        out.print(Text(f"{datetime.now():%H:%M:%S}  ").append_text(line))  # noqa: DTZ005 - the reader's own clock

    def progress() -> None:
        nonlocal next_line
        if time.monotonic() >= next_line:
            say(Text(status.line()))
            next_line = time.monotonic() + PLAIN_EVERY

    return _run(client, status, max(0, job.progress.step - 1), say, progress)


def _run(client: Client, status: Status, after: int, say: Callable[[Text], None], progress: Callable[[], None]) -> Job:
    """Feed the job's events to `status` until its end; answers the job as it ended.

    Args:
        client: the server's client.
        status: what is shown.
        after: cursor to begin behind.
        say: prints a line that stays.
        progress: called after each event.
    """

    def disconnected(_error: CptError) -> None:
        status.notice = "connection lost, trying again"
        progress()

    job_id, looked = status.job.id, time.monotonic()
    for event in client.stream(job_id, after=after, on_disconnect=disconnected):
        status.apply(event)
        if event.type != "step" or time.monotonic() - looked > REFRESH:
            _look(client, status)
            looked = time.monotonic()
        if (line := notable(event)) is not None:
            say(line)
        progress()
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


def notable(event: Event) -> Text | None:
    """What of an event stays on the screen: state changes, evaluations and warnings, but not single steps."""
    fields = event.fields
    match event.type:
        case "state":
            line = text.state(str(fields.get("state", "")))
            why = fields.get("message") or fields.get("reason")
            return line.append_text(text.user(f": {why}", "not bold")) if why else line
        case "evaluation" if fields.get("accuracy") is not None:
            return Text(
                f"accuracy {text.percent(fields['accuracy'])} at {text.bits(fields['bits'])}, step {fields['step']:,}"
            )
        case "log" if fields.get("level") in ("warning", "error"):
            style = "yellow" if fields["level"] == "warning" else "red"
            return text.user(f"{fields['level']}: {fields.get('message', '')}", style)
        case "cancel_requested":
            return Text("cancelling, as somebody asked", "red")
    return None
