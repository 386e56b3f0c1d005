"""What the shell offers behind a command: ids of jobs and sweeps, asked of the server, if it answers quickly."""

from __future__ import annotations

from collections.abc import Iterator

import typer

SECONDS = 2.0
"""How long a shell is kept waiting for a server."""

MOST = 30
"""How many are offered: the newest."""


def complete_job(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Jobs whose ids begin so, with their names and states."""
    from cpt_client.client import Client
    from cpt_client.errors import CptError

    try:
        with Client(context.params.get("url"), timeout=SECONDS, tries=1) as client:
            found = [(job.id, f"{job.name}, {job.state}") for job in client.list(limit=MOST)]
    except CptError:
        return []
    return list(_beginning(found, incomplete))


def complete_sweep(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Sweeps whose ids begin so, with their names and states."""
    from cpt_client.client import Client
    from cpt_client.errors import CptError

    try:
        with Client(context.params.get("url"), timeout=SECONDS, tries=1) as client:
            found = [(sweep.id, f"{sweep.name}, {sweep.state}") for sweep in client.sweeps.list(limit=MOST)]
    except CptError:
        return []
    return list(_beginning(found, incomplete))


def _beginning(found: list[tuple[str, str]], incomplete: str) -> Iterator[tuple[str, str]]:
    from cpt_client.view.text import printable

    return ((name, printable(what)) for name, what in found if name.startswith(incomplete))
