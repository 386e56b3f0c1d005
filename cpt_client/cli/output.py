"""Consoles, tables, and JSON for scripts."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TypeVar

import typer
from pydantic import BaseModel
from rich.console import Console
from rich.table import Table

Item = TypeVar("Item", bound=BaseModel)

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


def say(told: Mapping[str, object], line: str, *, as_json: bool) -> None:
    """Print what was done, as JSON or as a line for people."""
    if as_json:
        sys.stdout.write(json.dumps(told) + "\n")
    else:
        typer.echo(line)


def say_deleted(name: str, *, as_json: bool) -> None:
    """Print that something is gone."""
    say({"id": name, "deleted": True}, f"{name} is deleted", as_json=as_json)


def print_list(found: Iterable[Item], table: Callable[[Sequence[Item]], Table], *, nothing: str, as_json: bool) -> None:
    """Print what was found as a table, or as JSON line by line as it comes; `nothing` where a table would be empty."""
    if as_json:
        for item in found:
            print_json(item)
    elif items := list(found):
        console().print(table(items))
    else:
        typer.echo(nothing)


def columns(*headings: str, wrapped: Collection[str] = (), right: Collection[str] = ()) -> Table:
    """A table without lines. What is not among `wrapped` stays on one line."""
    table = Table(box=None, pad_edge=False)
    for heading in headings:
        table.add_column(heading, no_wrap=heading not in wrapped, justify="right" if heading in right else "left")
    return table
