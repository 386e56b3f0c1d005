"""`cpt worker` and `cpt api`: one part of the service in this process."""

from __future__ import annotations

from typing import Annotated

import typer

from cpt_client.cli import exits
from cpt_client.cli.options import ALONE

app = typer.Typer()


@app.command(rich_help_panel=ALONE, epilog=exits.HELP)
def worker() -> None:
    """Run a worker. Its settings are CPT_… variables of the environment."""
    from cpt_client.cli import parts

    parts.worker()


@app.command(rich_help_panel=ALONE, epilog=exits.HELP, context_settings={"ignore_unknown_options": True})
def api(
    command: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[serve|migrate|create-key NAME]",
            help="Serve; update the database; or make an API key in it: [--scope SCOPE] [--project PROJECT].",
        ),
    ] = None,
) -> None:
    """Run the API, bring its database up to date, or make a key. Its settings are CPT_… variables.

    The first key of a new server is made here, where the database is: `cpt api create-key NAME` prints one with scope
    operator. With it, `cpt keys create` makes the others.
    """
    from cpt_client.cli import parts

    parts.api(command or ["serve"])
