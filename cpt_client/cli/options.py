"""Arguments and options that commands have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cpt_client.cli.completion import complete_job, complete_sweep

SERVICE, CLIENT, ALONE = "One machine", "Jobs on a server", "Parts"
"""Panels of the help."""

Url = Annotated[
    str | None, typer.Option(envvar="CPT_URL", help="Address of the server; http://127.0.0.1:8000 by default.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")]
Csv = Annotated[bool, typer.Option("--csv", help="Print a table with a header as CSV.")]
JobId = Annotated[
    str, typer.Argument(metavar="JOB", help="The job's id, job_….", show_default=False, autocompletion=complete_job)
]
SweepId = Annotated[
    str,
    typer.Argument(metavar="SWEEP", help="The sweep's id, sweep_….", show_default=False, autocompletion=complete_sweep),
]
Spec = Annotated[Path, typer.Argument(metavar="SPEC", help="Job spec, a YAML or JSON file.", show_default=False)]
DataRoot = Annotated[Path, typer.Option(envvar="CPT_DATA_ROOT", help="Folder of the datasets.", file_okay=False)]
Watch = Annotated[bool, typer.Option("--watch", "-w", help="Stay and watch the job.")]
Key = Annotated[
    str | None, typer.Option("--idempotency-key", help="Repeating a submission with its key makes no second job.")
]
