"""`cpt up`."""

from __future__ import annotations

import contextlib
from pathlib import Path

import typer

from cpt_client.cli import exits
from cpt_client.cli.parts import require_embedded
from cpt_client.view.text import printable


def up(home: Path, port: int, data_root: Path | None) -> None:
    """Run the embedded service until it is told to stop."""
    require_embedded()
    from cpt_client.embedded.home import AlreadyRunningError, Home
    from cpt_client.embedded.stack import Stack, StartError

    stack = Stack(Home(home.absolute()), port=port, data_root=data_root, say=_say)
    try:
        stack.run()
    except (AlreadyRunningError, StartError) as error:
        exits.fail(str(error), code=exits.FAILED)
    except OSError as error:
        exits.fail(f"{home.absolute()} cannot be used: {error}", "choose another folder with --home", code=exits.FAILED)


def _say(line: str) -> None:
    with contextlib.suppress(OSError):  # a terminal that is gone must not keep the children from being ended
        typer.echo(printable(line))
