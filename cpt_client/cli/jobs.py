"""`cpt submit`, `list` and `show`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import typer
import yaml
from pydantic import ValidationError
from rich.syntax import Syntax
from rich.table import Table

from cpt_client.cli import exits
from cpt_client.cli.output import columns, console, print_json, print_list
from cpt_client.cli.watch import stay
from cpt_client.client import Client
from cpt_client.models import Job
from cpt_client.view import text
from cpt_client.view.status import Status
from cpt_client.view.summary import summary
from cpt_core.spec import JobSpec, load, problems


def read_spec(path: Path) -> JobSpec:
    """The spec in the file; ends the command with a message for each wrong field when it is none."""
    try:
        return load(path)
    except ValidationError as error:
        lines = [f"{path} is not a valid job spec:"]
        lines += [f"  {item['pointer'] or '/'}: {text.printable(item['message'])}" for item in problems(error)]
        exits.fail("\n".join(lines), "nothing was submitted; correct the fields named above", code=exits.USAGE)
    except OSError as error:
        exits.fail(f"{path} cannot be read: {error.strerror}", "give the path of a YAML file", code=exits.USAGE)
    except ValueError as error:
        exits.fail(str(error), "recipes/ holds complete examples", code=exits.USAGE)


def submit(path: Path, *, url: str | None, watch: bool, key: str | None, as_json: bool) -> None:
    """Check the spec here, then submit it; with `watch`, stay until the job ends."""
    spec = read_spec(path)
    with exits.reporting(), Client(url) as client:
        job = client.submit(spec, idempotency_key=key)
        told(client, job, watch=watch, as_json=as_json)


def told(client: Client, job: Job, *, watch: bool, as_json: bool) -> None:
    """Print a new job; with `watch`, stay until it ends."""
    if as_json:
        print_json(job)
    elif not watch:
        typer.echo(f"{job.id} is {job.state} in queue {job.queue}")
        typer.echo(f"`cpt watch {job.id}` shows it as it runs")
    if watch:
        stay(client, job, as_json=as_json)


def list_jobs(
    *, url: str | None, states: list[str], queue: str | None, archived: bool, limit: int, as_json: bool
) -> None:
    """Print the jobs, newest first."""
    with exits.reporting(), Client(url) as client:
        jobs = client.list(states=states, queue=queue, archived=archived, limit=limit)
        print_list(jobs, _table, nothing="no jobs; `cpt submit SPEC.yaml` makes one", as_json=as_json)


def _table(jobs: Sequence[Job]) -> Table:
    headings = ("ID", "NAME", "STATE", "PROGRESS", "BITS", "LOSS", "QUALITY", "COST", "AGE")
    table = columns(*headings, wrapped=["NAME"], right=["LOSS", "AGE"])
    now = datetime.now(UTC)
    for job in jobs:
        latest, evaluation, cost = job.latest, job.evaluation, job.cost
        table.add_row(
            text.user(job.id),
            text.user(job.name),
            text.state(job.state),
            f"{100 * job.progress.fraction:.0f} %",
            f"{latest.forward_bits}/{latest.backward_bits}" if latest else "",
            f"{latest.loss:.4f}" if latest else "",
            f"{text.quality(evaluation)} at {text.bits(evaluation.bits)}" if evaluation else "",
            f"-{text.percent(cost.saved_vs_fp32)}" if cost and cost.saved_vs_fp32 else "",
            text.age(job.created_at, now),
        )
    return table


def show(job_id: str, *, url: str | None, as_json: bool) -> None:
    """Print a job."""
    with exits.reporting(), Client(url) as client:
        job = client.get(job_id)
        if as_json:
            print_json(job)
            return
        out = console()
        out.print(Status(job))
        if job.is_final:
            out.print(summary(job))
        out.print(Syntax(yaml.safe_dump(job.spec, sort_keys=False), "yaml", background_color="default"))
