"""`cpt train`: one spec on this machine without any server, shown like a job."""

from __future__ import annotations

from pathlib import Path

import typer

from cpt_client.cli import exits
from cpt_client.cli.jobs import read_spec
from cpt_client.cli.output import console
from cpt_client.cli.parts import require
from cpt_client.view.local import LocalRun
from cpt_client.view.presenter import presenter
from cpt_client.view.status import Status
from cpt_client.view.summary import summary
from cpt_core.events import AnyEvent


def train(path: Path, storage: Path, data_root: Path, events: Path | None, resume: Path | None) -> None:
    """Train the spec in the file and show it; ends the command with an exit code that tells how it went."""
    require("train", "torch", "fsspec", "safetensors")
    from cpt_core.checkpoint import CheckpointError
    from cpt_core.train import local

    spec = read_spec(path)
    run = LocalRun(spec)
    status, out = Status(run.job), console()
    try:
        with presenter(status, out) as show:

            def take(event: AnyEvent) -> None:
                seen = run.take(event)
                status.apply(seen)
                status.update(run.job)
                show(seen)

            code = local.train(spec, storage=storage, data_root=data_root, events=events, resume=resume, on_event=take)
    except (CheckpointError, OSError) as error:
        exits.fail(str(error), code=exits.USAGE)
    out.print(summary(run.job, str(storage.absolute())))
    if run.job.state == "preempted" and run.job.checkpoint is not None:
        typer.echo(f"`cpt train {path} --resume {storage / run.job.checkpoint.path}` continues (same storage)")
        raise typer.Exit(exits.INTERRUPTED)
    raise typer.Exit(exits.OK if code == 0 else exits.FAILED)
