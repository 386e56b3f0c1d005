"""Consoles, and JSON for scripts."""

from __future__ import annotations

import sys

from pydantic import BaseModel
from rich.console import Console

FILE_WIDTH = 200
"""Columns when the output is no terminal."""


def console(*, stderr: bool = False) -> Console:
    """The console of stdout, or of stderr where stdout has JSON.

    A file or a pipe gets long lines instead of ones cut at 80 columns, and nothing live.
    """
    if (sys.stderr if stderr else sys.stdout).isatty():
        return Console(stderr=stderr, highlight=False)
    return Console(stderr=stderr, highlight=False, width=FILE_WIDTH, force_interactive=False)


def print_json(item: BaseModel) -> None:
    """Print an answer of the API as one line of JSON, with the fields this client does not know."""
    sys.stdout.write(item.model_dump_json() + "\n")
    sys.stdout.flush()
