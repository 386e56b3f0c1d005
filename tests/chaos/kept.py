"""Results that are kept: a file for each fault and database, with every run of every cell."""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.chaos.matrix import Cell

FOLDER = Path(__file__).parent / "kept"


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one run."""

    seed: int
    date: str
    ranks: int
    passed: bool
    recovery: float | None
    """Seconds until it was over, see docs/reliability.md."""
    problem: str = ""
    note: str = ""


def path_of(cell: Cell, folder: Path = FOLDER) -> Path:
    return folder / cell.database / f"{cell.row.fault}.json"


def read(cell: Cell, folder: Path = FOLDER) -> list[Result]:
    """The cell's runs, by seed."""
    path = path_of(cell, folder)
    found = json.loads(path.read_text()) if path.exists() else {}
    return [Result(**item) for item in found.get(cell.moment, [])]


def write(cell: Cell, results: list[Result], folder: Path = FOLDER) -> None:
    """Keep the cell's runs in place of what was kept of it."""
    path = path_of(cell, folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    document = json.loads(path.read_text()) if path.exists() else {}
    document[cell.moment] = [asdict(item) for item in sorted(results, key=lambda item: item.seed)]
    moments = []
    for moment, runs in document.items():
        lines = ",\n  ".join(map(json.dumps, runs))
        moments.append(f" {json.dumps(moment)}: [\n  {lines}\n ]")
    path.write_text("{\n" + ",\n".join(moments) + "\n}\n")


def median(results: list[Result]) -> float | None:
    """Median time of recovery of the runs that passed."""
    times = [item.recovery for item in results if item.passed and item.recovery is not None]
    return statistics.median(times) if times else None


def longest(results: list[Result]) -> float | None:
    """The longest of them."""
    return max((item.recovery for item in results if item.passed and item.recovery is not None), default=None)
