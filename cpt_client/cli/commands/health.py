"""`cpt doctor`."""

from __future__ import annotations

from typing import Annotated

import typer

from cpt_client.cli import exits
from cpt_client.cli.options import CLIENT, Json, Url

app = typer.Typer()


@app.command(rich_help_panel=CLIENT, epilog=exits.HELP)
def doctor(
    here: Annotated[bool, typer.Option("--here", help="Only this machine: GPU and energy counters.")] = False,
    json: Json = False,
    url: Url = None,
) -> None:
    """Check the service, and say what to do where something is wrong.

    Of the server: database and its revision, broker, workers, storage, clocks; of this machine: GPU and energy
    counters, so run it on a worker's machine, too. Exits with 1 when a check has failed; warnings alone are 0.
    """
    from cpt_client.cli import doctor as implementation

    implementation.doctor(url=url, here=here, as_json=json)
