"""`cpt up` and `demo`: the whole service on one machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cpt_client.cli import exits
from cpt_client.cli.options import SERVICE

app = typer.Typer()

Home = Annotated[Path, typer.Option(envvar="CPT_HOME", help="Folder of everything the stack keeps.", file_okay=False)]


@app.command(rich_help_panel=SERVICE, epilog=exits.HELP)
def up(
    home: Home = Path(".cpt"),
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the API on 127.0.0.1; 0: any free one.")] = 8000,
    data_root: Annotated[
        Path | None, typer.Option(envvar="CPT_DATA_ROOT", help="Folder of the datasets; HOME/data by default.")
    ] = None,
) -> None:
    """Run the whole service on this machine: database, broker, API and a worker.

    Ctrl-C ends all of it; jobs that run save a checkpoint and continue at the next `cpt up`. HOME/ready.json holds
    {url, pid} while it serves; the logs are in HOME/logs.
    """
    from cpt_client.cli import stack

    stack.up(home, port, data_root)


@app.command(rich_help_panel=SERVICE, epilog=exits.HELP)
def demo(
    spec: Annotated[Path, typer.Argument(metavar="[SPEC]", help="Job spec.")] = Path(
        "recipes/digits/resnet8-cpt-3-8.yaml"
    ),
) -> None:
    """Train one job from nothing: start the service in a new temporary folder, submit, watch, stop."""
    from cpt_client.cli import demo as implementation

    implementation.demo(spec)
