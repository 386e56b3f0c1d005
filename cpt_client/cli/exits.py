"""Exit codes of `cpt`, and the one place where errors become messages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

import typer

if TYPE_CHECKING:
    from cpt_client.errors import CptError

OK = 0
FAILED = 1
USAGE = 2
NO_SERVER = 3
INTERRUPTED = 130

HELP = (
    "Exit codes: 0 done; 1 the job failed or was cancelled, or something broke; 2 wrong usage or a bad job spec; "
    "3 the server cannot be reached or is failing; 130 interrupted."
)


def fail(message: str, hint: str = "", *, code: int) -> NoReturn:
    """End the command with a message on stderr and what to do next."""
    typer.echo(f"error: {message}", err=True)
    if hint:
        typer.echo(f"hint: {hint}", err=True)
    raise typer.Exit(code)


@contextmanager
def reporting() -> Iterator[None]:
    """Turn what the client raises into a message and an exit code."""
    from cpt_client.errors import CptError

    try:
        yield
    except CptError as error:
        fail_by(error)


def fail_by(error: CptError) -> NoReturn:
    """End the command as the error says."""
    from cpt_client.view.text import printable

    lines = [printable(error.detail)]
    lines += [
        f"  {printable(item.parameter or item.pointer or '/')}: {printable(item.message)}" for item in error.errors
    ]
    fail("\n".join(lines), hint(error), code=NO_SERVER if error.is_server_side else USAGE)


def hint(error: CptError) -> str:
    """What to do next; "" where the error says it."""
    from cpt_client.errors import NOT_A_SERVER, UNREACHABLE

    if error.code in (UNREACHABLE, NOT_A_SERVER):
        return "start a server with `cpt up`, or give its address with --url or CPT_URL"
    if error.status == 401:
        return "set CPT_API_KEY to an API key of this server; whoever runs it makes one with `cpt keys create`"
    if error.status == 403:
        return "ask whoever runs the server for a key that may do this"
    if error.code == "key_not_found":
        return "`cpt keys list` shows the keys there are"
    if error.status == 404 or any(item.parameter == "job_id" for item in error.errors):
        return "`cpt list` shows the jobs there are"
    if error.is_server_side:
        return "`cpt doctor` tells what is wrong with it, and its own log says more"
    return ""
