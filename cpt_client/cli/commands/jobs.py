"""Commands that make and show jobs."""

from __future__ import annotations

from typing import Annotated

import typer

from cpt_client.cli import exits
from cpt_client.cli.completion import complete_job
from cpt_client.cli.options import CLIENT, Csv, JobId, Json, Key, Spec, Url, Watch

app = typer.Typer()


@app.command(rich_help_panel=CLIENT, epilog=exits.HELP)
def submit(
    spec: Spec,
    watch: Watch = False,
    key: Key = None,
    json: Json = False,
    url: Url = None,
) -> None:
    """Check a job spec and submit it."""
    from cpt_client.cli import jobs

    jobs.submit(spec, url=url, watch=watch, key=key, as_json=json)


@app.command(rich_help_panel=CLIENT, epilog=exits.HELP)
def watch(job: JobId, json: Json = False, url: Url = None) -> None:
    """Watch a job until it ends; Ctrl-C leaves it running.

    With --json: its events, and the job itself as the last line.
    """
    from cpt_client.cli import watch as implementation

    implementation.watch(job, url=url, as_json=json)


@app.command("list", rich_help_panel=CLIENT, epilog=exits.HELP)
def list_(
    state: Annotated[list[str] | None, typer.Option(help="Only jobs in this state; may be repeated.")] = None,
    queue: Annotated[str | None, typer.Option(help="Only jobs of this queue.")] = None,
    archived: Annotated[bool, typer.Option("--archived", help="The archived jobs, instead of the others.")] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many at most.")] = 20,
    json: Json = False,
    url: Url = None,
) -> None:
    """List jobs, newest first."""
    from cpt_client.cli import jobs

    jobs.list_jobs(url=url, states=state or [], queue=queue, archived=archived, limit=limit, as_json=json)


@app.command(rich_help_panel=CLIENT, epilog=exits.HELP)
def show(job: JobId, json: Json = False, url: Url = None) -> None:
    """Show a job: state, figures, result and spec."""
    from cpt_client.cli import jobs

    jobs.show(job, url=url, as_json=json)


@app.command(rich_help_panel=CLIENT, epilog=exits.HELP)
def compare(
    jobs: Annotated[
        list[str],
        typer.Argument(metavar="JOB…", help="Ids of the jobs, job_….", show_default=False, autocompletion=complete_job),
    ],
    json: Json = False,
    csv: Csv = False,
    url: Url = None,
) -> None:
    """Show jobs side by side: quality, cost, energy, time, and where their specs differ."""
    from cpt_client.cli import sweep

    sweep.compare(jobs, url=url, as_json=json, as_csv=csv)


@app.command(rich_help_panel=CLIENT, epilog=exits.HELP)
def metrics(
    job: JobId,
    keys: Annotated[
        list[str] | None,
        typer.Option("--key", "-k", help="Only this metric, such as loss or forward_bits; may be repeated."),
    ] = None,
    from_step: Annotated[int, typer.Option(min=0, help="The first step.")] = 0,
    to_step: Annotated[int | None, typer.Option(min=0, help="The last step; by default the latest.")] = None,
    csv: Csv = False,
    json: Json = False,
    url: Url = None,
) -> None:
    """Show a job's metrics: each one's course on a line; with --csv or --json every step."""
    from cpt_client.cli import metrics as implementation

    implementation.metrics(job, keys or [], from_step, to_step, url=url, as_csv=csv, as_json=json)
