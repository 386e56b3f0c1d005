"""`cpt logs`, `checkpoints`, `download` and `datasets`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import typer
from rich.table import Table

from cpt_client.cli import exits
from cpt_client.cli.output import columns, print_json, print_list, say, say_deleted
from cpt_client.client import Client
from cpt_client.models import Checkpoint, Dataset
from cpt_client.view import text

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")


def logs(
    job_id: str, *, url: str | None, rank: int, attempt: int | None, tail: int | None, follow: bool, as_json: bool
) -> None:
    """Print a rank's output; what would steer the terminal is shown, not sent."""
    with exits.reporting(), Client(url) as client:
        for line in client.logs(job_id, rank=rank, attempt=attempt, tail=tail, follow=follow):
            if as_json:
                print_json(line)
            else:
                typer.echo(text.printable(line.line))


def checkpoints(job_id: str, *, url: str | None, as_json: bool) -> None:
    """Print a job's checkpoints."""
    with exits.reporting(), Client(url) as client:
        print_list(client.checkpoints(job_id), _checkpoints, nothing="no checkpoints yet", as_json=as_json)


def _checkpoints(found: Sequence[Checkpoint]) -> Table:
    table = columns("ID", "STEP", "KIND", "ATTEMPT", "SIZE", "MADE")
    for item in found:
        table.add_row(
            item.id, str(item.step), item.kind, str(item.attempt), _megabytes(item.size), f"{item.created_at:%F %T}"
        )
    return table


def download(
    job_id: str, *, url: str | None, checkpoint: str | None, best: bool, output: Path | None, as_json: bool
) -> None:
    """Download a checkpoint's weights."""
    target = output or Path(f"{job_id}.safetensors")
    with exits.reporting(), Client(url) as client:
        if checkpoint is None:
            kind = "best" if best else "regular"
            checkpoint = next((item.id for item in client.checkpoints(job_id) if item.kind == kind), None)
        if checkpoint is None:
            exits.fail(f"{job_id} has no such checkpoint", f"`cpt checkpoints {job_id}` lists them", code=exits.USAGE)
        try:
            digest = client.download_weights(job_id, checkpoint, target)
        except OSError as error:
            exits.fail(f"{target} cannot be written: {error.strerror}", "choose another --output", code=exits.USAGE)
    size = target.stat().st_size
    told = {"path": str(target), "checkpoint": checkpoint, "size": size, "sha256": digest}
    say(told, f"{target} ({_megabytes(size)}, sha256 {digest})", as_json=as_json)


def upload_dataset(name: str, archive: Path, *, url: str | None, as_json: bool) -> None:
    """Upload an archive."""
    if not archive.name.lower().endswith(ARCHIVES):
        exits.fail(f"{archive} is none of {', '.join(ARCHIVES)}", "pack the dataset's files first", code=exits.USAGE)
    with exits.reporting(), Client(url) as client:
        try:
            dataset = client.upload_dataset(name, archive)
        except OSError as error:
            exits.fail(f"{archive} cannot be read: {error.strerror}", "give the path of an archive", code=exits.USAGE)
    if as_json:
        print_json(dataset)
    else:
        typer.echo(f"{name}: {dataset.files} files, {_megabytes(dataset.unpacked_size)}")
        typer.echo(f"use it with dataset: {{name: …, upload: {name}}}")


def list_datasets(*, url: str | None, as_json: bool) -> None:
    """Print the uploaded datasets."""
    with exits.reporting(), Client(url) as client:
        nothing = "no datasets; `cpt datasets upload NAME ARCHIVE` makes one"
        print_list(client.datasets(), _datasets, nothing=nothing, as_json=as_json)


def _datasets(found: Sequence[Dataset]) -> Table:
    table = columns("NAME", "FILES", "SIZE", "UNPACKED", "UPLOADED")
    for item in found:
        sizes = _megabytes(item.size), _megabytes(item.unpacked_size)
        table.add_row(item.name, str(item.files), *sizes, f"{item.created_at:%F %T}")
    return table


def delete_dataset(name: str, *, url: str | None, as_json: bool) -> None:
    """Delete an uploaded dataset."""
    with exits.reporting(), Client(url) as client:
        client.delete_dataset(name)
    say_deleted(name, as_json=as_json)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
