"""docs/reliability.md, written from what is kept."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.kept import fill
from tests.chaos import kept
from tests.chaos.matrix import DATABASES, ROWS, Cell, Row

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
SHORT = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}


def write() -> None:
    """Write the tables."""
    fill(PAGE, {"matrix": matrix(), "cells": cells_of_rows(), "soak": soak()})


def matrix() -> str:
    """A line for each fault."""
    lines = [
        "| fault | must happen | runs asked for | runs | passed | recovery: median, max |",
        "|---|---|---|---|---|---|",
    ]
    total = passed = wanted = 0
    for row in ROWS:
        found = [result for cell in _cells(row) for result in kept.read(cell)]
        asked = sum(cell.runs for cell in _cells(row))
        good = sum(result.passed for result in found)
        lines.append(f"| {row.what} | {row.must} | {asked} | {len(found)} | {good} | {_times(found)} |")
        total, passed, wanted = total + len(found), passed + good, wanted + asked
    lines.append(f"| **all** | | {wanted} | {total} | {passed} | |")
    return "\n".join(lines)


def cells_of_rows() -> str:
    """A table for each fault, with its cells."""
    lines = [
        "| fault | moment | database | runs | passed | two ranks | median | max | last |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in ROWS:
        for cell in _cells(row):
            found = kept.read(cell)
            good, two = sum(result.passed for result in found), sum(result.ranks == 2 for result in found)
            times = _times(found).split(", ") if found else ["", ""]
            last = max((result.date for result in found), default="never run")
            columns = row.fault, cell.moment, SHORT[cell.database], len(found), good, two, *times, last
            lines.append("| " + " | ".join(map(str, columns)) + " |")
    failures = [
        f"* `{cell.name}`, seed {result.seed}: {result.problem}"
        for row in ROWS
        for cell in _cells(row)
        for result in kept.read(cell)
        if not result.passed
    ]
    return "\n".join(
        [*lines, "", "Runs that failed:" if failures else "No run that is kept failed.", "", *failures]
    ).strip()


def soak() -> str:
    """What the last soak came to."""
    path = kept.FOLDER / "soak.json"
    if not path.exists():
        return "Not run yet."
    found = json.loads(path.read_text())
    told = f"{found['minutes']:g} minutes on {SHORT[found['database']]}, {found['jobs']} jobs, {found['date']}:"
    lines = ["| figure | second quarter | last quarter | grows |", "|---|---|---|---|"]
    for name, item in found["figures"].items():
        unit = " MB" if name.endswith(".memory") else ""
        grows = "**yes**" if item["grows"] else "no"
        lines.append(f"| {name.replace('.', ': ')} | {item['before']}{unit} | {item['after']}{unit} | {grows} |")
    return "\n".join([told, "", *lines])


def _cells(row: Row) -> list[Cell]:
    return [Cell(row, moment, database) for moment in row.moments for database in DATABASES]


def _times(found: list[kept.Result]) -> str:
    middle, longest = kept.median(found), kept.longest(found)
    return "-, -" if middle is None or longest is None else f"{middle:.1f} s, {longest:.1f} s"
