"""`cpt datasets`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cpt_client.cli import exits
from cpt_client.cli.options import Json, Url

app = typer.Typer(help="Uploaded datasets.", no_args_is_help=True)

DatasetName = Annotated[str, typer.Argument(metavar="NAME", help="The dataset's name.", show_default=False)]


@app.command("upload", epilog=exits.HELP)
def upload_dataset(
    name: DatasetName,
    archive: Annotated[
        Path, typer.Argument(metavar="ARCHIVE", help="A .zip, .tar, .tar.gz or .tgz file.", dir_okay=False)
    ],
    json: Json = False,
    url: Url = None,
) -> None:
    """Upload an archive; specs name it by `dataset.upload`."""
    from cpt_client.cli import files

    files.upload_dataset(name, archive, url=url, as_json=json)


@app.command("list", epilog=exits.HELP)
def list_datasets(json: Json = False, url: Url = None) -> None:
    """List uploaded datasets, newest first."""
    from cpt_client.cli import files

    files.list_datasets(url=url, as_json=json)


@app.command("delete", epilog=exits.HELP)
def delete_dataset(name: DatasetName, json: Json = False, url: Url = None) -> None:
    """Delete an uploaded dataset that no unfinished job needs."""
    from cpt_client.cli import files

    files.delete_dataset(name, url=url, as_json=json)
