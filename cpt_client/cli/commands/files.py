"""Commands about what is stored: logs, checkpoints, weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cpt_client.cli import exits
from cpt_client.cli.options import CLIENT, JobId, Json, Url

app = typer.Typer()


@app.command(rich_help_panel=CLIENT, epilog=exits.HELP)
def logs(
    job: JobId,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job ends.")] = False,
    tail: Annotated[int | None, typer.Option("--tail", "-n", min=0, help="Only the last lines.")] = None,
    rank: Annotated[int, typer.Option("--rank", "-r", min=-1, help="Whose output; -1: the launcher's.")] = 0,
    attempt: Annotated[int | None, typer.Option(min=1, help="Of this attempt; by default the last.")] = None,
    json: Json = False,
    url: Url = None,
) -> None:
    """Print what a rank of a job printed."""
    from cpt_client.cli import files

    files.logs(job, url=url, rank=rank, attempt=attempt, tail=tail, follow=follow, as_json=json)


@app.command(rich_help_panel=CLIENT, epilog=exits.HELP)
def checkpoints(job: JobId, json: Json = False, url: Url = None) -> None:
    """List a job's checkpoints that are kept, newest first."""
    from cpt_client.cli import files

    files.checkpoints(job, url=url, as_json=json)


@app.command(rich_help_panel=CLIENT, epilog=exits.HELP)
def download(
    job: JobId,
    checkpoint: Annotated[
        str | None, typer.Option("--checkpoint", "-c", help="The checkpoint's id, ckpt_…; by default the newest.")
    ] = None,
    best: Annotated[bool, typer.Option("--best", help="The checkpoint of the best evaluation.")] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write; JOB.safetensors by default.", dir_okay=False)
    ] = None,
    json: Json = False,
    url: Url = None,
) -> None:
    """Download the weights of a checkpoint as one safetensors file, verified."""
    from cpt_client.cli import files

    files.download(job, url=url, checkpoint=checkpoint, best=best, output=output, as_json=json)
