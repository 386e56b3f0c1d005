"""Commands about queues and workers."""

from __future__ import annotations

import typer

from cpt_client.cli import exits
from cpt_client.cli.options import CLIENT, Json, Url

app = typer.Typer()


@app.command(rich_help_panel=CLIENT, epilog=exits.HELP)
def queues(json: Json = False, url: Url = None) -> None:
    """List queues: what waits in them, and who takes it."""
    from cpt_client.cli import fleet

    fleet.queues(url=url, as_json=json)


@app.command(rich_help_panel=CLIENT, epilog=exits.HELP)
def workers(json: Json = False, url: Url = None) -> None:
    """List workers: what they have, and what they do."""
    from cpt_client.cli import fleet

    fleet.workers(url=url, as_json=json)
