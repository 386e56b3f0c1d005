"""docs/reliability.md says what the runs that are kept came to."""

from __future__ import annotations

from pathlib import Path

from tests.chaos import kept, page
from tests.chaos.kept import Result
from tests.chaos.matrix import cells


def test_the_tables_are_what_is_kept() -> None:
    text = page.PAGE.read_text()
    assert page.matrix() in text
    assert page.cells_of_rows() in text
    assert page.soak() in text


def test_results_are_kept_by_cell(tmp_path: Path) -> None:
    first, other = [cell for cell in cells() if cell.row.fault == "sigstop" and cell.database == "sqlite"][:2]
    results = [
        Result(1, "2026-01-01", 1, passed=False, recovery=None, problem="lost"),
        Result(0, "2026-01-01", 2, True, 3.0),
    ]
    kept.write(first, results, tmp_path)
    kept.write(other, results[:1], tmp_path)
    assert kept.read(first, tmp_path) == sorted(results, key=lambda result: result.seed)
    assert kept.read(other, tmp_path) == results[:1]
    assert (kept.median(results), kept.longest(results)) == (3.0, 3.0)
