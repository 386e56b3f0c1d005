"""What can be done with a job."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from cpt_client.cli import exits
from cpt_client.cli.options import CLIENT, JobId, Json, Key, Url, Watch

app = typer.Typer()


class Origin(StrEnum):
    """Where a retry begins."""

    CHECKPOINT = "checkpoint"
    START = "start"


@app.command(rich_help_panel=CLIENT, epilog=exits.HELP)
def cancel(job: JobId, json: Json = False, url: Url = None) -> None:
    """Ask to cancel a job. It keeps its last checkpoint."""
    from cpt_client.cli import actions

    actions.cancel(job, url=url, as_json=json)


@app.command(rich_help_panel=CLIENT, epilog=exits.HELP)
def pause(job: JobId, json: Json = False, url: Url = None) -> None:
    """Let a job rest: it saves a checkpoint and frees its devices until it is resumed."""
    from cpt_client.cli import actions

    actions.pause(job, url=url, as_json=json)


@app.command(rich_help_panel=CLIENT, epilog=exits.HELP)
def resume(job: JobId, json: Json = False, url: Url = None) -> None:
    """Let a paused job go on from its checkpoint."""
    from cpt_client.cli import actions

    actions.resume(job, url=url, as_json=json)


@app.command(rich_help_panel=CLIENT, epilog=exits.HELP)
def retry(
    job: JobId,
    start: Annotated[
        Origin | None, typer.Option("--from", help="By default the last checkpoint, if there is one.")
    ] = None,
    watch: Watch = False,
    key: Key = None,
    json: Json = False,
    url: Url = None,
) -> None:
    """Try a failed or cancelled job again, as a new job."""
    from cpt_client.cli import actions

    actions.retry(job, start=start.value if start else None, url=url, watch=watch, key=key, as_json=json)


@app.command(rich_help_panel=CLIENT, epilog=exits.HELP)
def clone(
    job: JobId,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="Change a field, such as training.seed=1; may be repeated."),
    ] = None,
    watch: Watch = False,
    key: Key = None,
    json: Json = False,
    url: Url = None,
) -> None:
    """Submit a job's spec again, with changes, as a new job. A value is YAML; null takes the field away."""
    from cpt_client.cli import actions

    actions.clone(job, changes or [], url=url, watch=watch, key=key, as_json=json)


@app.command(rich_help_panel=CLIENT, epilog=exits.HELP)
def archive(
    job: JobId,
    undo: Annotated[bool, typer.Option("--undo", help="Show it in lists again.")] = False,
    json: Json = False,
    url: Url = None,
) -> None:
    """Hide a job that has ended from lists."""
    from cpt_client.cli import actions

    actions.archive(job, undo=undo, url=url, as_json=json)


@app.command(rich_help_panel=CLIENT, epilog=exits.HELP)
def delete(
    job: JobId,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json: Json = False,
    url: Url = None,
) -> None:
    """Delete a job that has ended, with its log and checkpoints, for good."""
    from cpt_client.cli import actions

    actions.delete(job, yes=yes, url=url, as_json=json)
