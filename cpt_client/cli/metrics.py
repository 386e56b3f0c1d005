"""`cpt metrics`: the figures of each step, as curves on a line each, as CSV, or as JSON."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import typer
from rich.table import Table

from cpt_client.cli import exits
from cpt_client.cli.output import columns, console, print_json
from cpt_client.client import Client
from cpt_client.metrics import Sampled
from cpt_client.view import text
from cpt_client.view.sparkline import sparkline

POINTS = 400
"""Points that are read of a metric to draw its course."""

WIDTH = 40
"""Columns of a course."""


def metrics(
    job_id: str,
    keys: Sequence[str],
    from_step: int,
    to_step: int | None,
    *,
    url: str | None,
    as_csv: bool,
    as_json: bool,
) -> None:
    """Print a job's metrics."""
    if as_csv and as_json:
        exits.fail("--csv and --json exclude each other", "leave one of them out", code=exits.USAGE)
    with exits.reporting(), Client(url) as client:
        if as_csv:
            sys.stdout.write(client.metrics_csv(job_id, keys, from_step=from_step, to_step=to_step))
        elif as_json:
            for step in client.metrics(job_id, keys, from_step=from_step, to_step=to_step):
                print_json(step)
        else:
            sampled = client.metrics_sample(job_id, keys, from_step=from_step, to_step=to_step, max_points=POINTS)
            if sampled.to_step is None:
                typer.echo(f"no steps yet; `cpt watch {job_id}` shows them as they come")
            else:
                console().print(_table(sampled))


def _table(sampled: Sampled) -> Table:
    headings = ("METRIC", "FIRST", "LAST", "SMALLEST", "LARGEST")
    table = columns(*headings, f"STEPS {sampled.from_step:,} TO {sampled.to_step:,}", right=headings[1:])
    for key, points in sampled.series.items():
        values = [value for _, value in points]
        if values:
            figures = (values[0], values[-1], min(values), max(values))
            table.add_row(text.user(key), *map(text.number, figures), sparkline(values, WIDTH))
        else:
            table.add_row(text.user(key), "", "", "", "", "no value")
    return table
