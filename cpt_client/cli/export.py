"""What `cpt export` does, whatever the tool."""

from __future__ import annotations

from collections.abc import Sequence

import typer

from cpt_client.cli import exits
from cpt_client.cli.output import say
from cpt_client.client import Client
from cpt_client.errors import MissingPartError
from cpt_client.exports import Exported, ExportError, Target, export_all
from cpt_client.exports import export as export_one
from cpt_client.view import text


def export(
    target: Target, jobs: Sequence[str], everything: bool, follow: bool, *, url: str | None, as_json: bool
) -> None:
    """Bring jobs to a tool and tell of each; Ctrl-C ends it, and the next export goes on there."""
    if everything == bool(jobs):
        hint = "`cpt list` shows the jobs there are"
        exits.fail("name the jobs to export, or say --all", hint, code=exits.USAGE)
    if follow and len(jobs) > 1:
        hint = "follow one, or all of the project with --all"
        exits.fail("--follow stays with one job", hint, code=exits.USAGE)
    told = _Told(as_json=as_json)
    try:
        with exits.reporting(), Client(url) as client:
            if everything:
                export_all(client, target, follow=follow, on_progress=told)
            for job in jobs:
                export_one(client, job, target, follow=follow, on_progress=told)
    except KeyboardInterrupt:
        typer.echo("\nstopped; the same command goes on from here", err=True)
        raise typer.Exit(exits.INTERRUPTED) from None
    except MissingPartError as error:
        exits.fail(str(error), code=exits.FAILED)
    except ExportError as error:
        exits.fail(str(error), code=exits.USAGE)
    if everything and not told.jobs:
        typer.echo("no jobs; `cpt submit SPEC.yaml` makes one", err=True)


class _Told:
    """Tells of each job once for each state it is seen in."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self.jobs: dict[str, str] = {}
        """Jobs that were told of, with the state."""

    def __call__(self, exported: Exported) -> None:
        job = exported.job
        if self.jobs.get(job.id) == job.state:
            return
        self.jobs[job.id] = job.state
        document = {
            "job": job.id,
            "state": job.state,
            "steps": exported.steps,
            "is_complete": exported.is_complete,
            "place": exported.place,
        }
        more = "" if exported.is_complete else ", more to come"
        line = text.printable(f"{job.id} ({job.name}, {job.state}): {exported.steps:,} steps{more}, {exported.place}")
        say(document, line, as_json=self._as_json)
