"""`make chaos`: drive the stack through the matrix, keep what came of it, write docs/reliability.md."""

from __future__ import annotations

import argparse
import fnmatch
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import get_context
from pathlib import Path

from tests.chaos import kept, lane, page
from tests.chaos.matrix import DATABASES, Cell, cells


def main(argv: Sequence[str] | None = None) -> int:
    """Run the cells that are named; returns 0 if every run passed."""
    options = _parser().parse_args(argv)
    chosen = [cell for cell in cells() if cell.database in options.databases and _named(cell, options.cells)]
    if not chosen:
        sys.exit(f"no cell is named {' or '.join(options.cells)}: use FAULT/MOMENT/DATABASE, with * and ?")
    if options.again:
        for cell in chosen:
            kept.write(cell, [])
    driver = Driver(options, chosen)
    try:
        failed = driver.drive()
    finally:
        driver.close()
        if not options.no_page:
            page.write()
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("cells", nargs="*", default=["*"], help="FAULT/MOMENT/DATABASE, with * and ? (default: all)")
    parser.add_argument("--runs", type=int, default=1000, help="runs of each cell, at most what the matrix asks for")
    parser.add_argument("--databases", nargs="+", choices=DATABASES, default=list(DATABASES))
    parser.add_argument("--lanes", type=int, default=1, help="stacks at the same time on each database (default: 1)")
    parser.add_argument("--minutes", type=float, default=1e9, help="begin no run after so many minutes")
    parser.add_argument("--again", action="store_true", help="forget what is kept of these cells")
    parser.add_argument("--mix", default="100,500", help="jobs,faults of a random mix (default: %(default)s)")
    parser.add_argument("--no-page", action="store_true", help="do not write docs/reliability.md")
    parser.add_argument("--keep", type=Path, help="folder for the stack of a run that failed")
    return parser


def _named(cell: Cell, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(cell.name, pattern + "/*" * (2 - pattern.count("/"))) for pattern in patterns)


class Driver:
    """Hands runs to lanes, which take theirs side by side, and keeps what came of them."""

    def __init__(self, options: argparse.Namespace, chosen: Sequence[Cell]) -> None:
        self.options = options
        self.done = {cell: kept.read(cell) for cell in chosen}
        self.under_way: dict[Future[kept.Result], tuple[Cell, int, ProcessPoolExecutor]] = {}
        self.folder = Path(tempfile.mkdtemp(prefix="cpt-chaos-"))
        self.folder.chmod(0o755)
        self.lanes = {self._lane(database): database for database in options.databases for _ in range(options.lanes)}

    def _lane(self, database: str) -> ProcessPoolExecutor:
        arguments = (self.options, database, self.folder)
        return ProcessPoolExecutor(1, get_context("spawn"), initializer=lane.begin, initargs=arguments)

    def drive(self) -> int:
        """Runs, the cell with the fewest first, until all have theirs. Returns how many failed."""
        failed, end = 0, time.monotonic() + 60 * self.options.minutes
        for process in self.lanes:
            self._next(process)
        while self.under_way:
            for future in wait(self.under_way, return_when=FIRST_COMPLETED).done:
                cell, _, process = self.under_way.pop(future)
                result = future.result()
                self.done[cell].append(result)
                kept.write(cell, self.done[cell])
                failed += not result.passed
                if time.monotonic() < end:
                    self._next(process)
        return failed

    def _next(self, process: ProcessPoolExecutor) -> None:
        seeds = {cell: {result.seed for result in results} for cell, results in self.done.items()}
        for cell, seed, _ in self.under_way.values():
            seeds[cell].add(seed)
        wanted = {cell: range(min(cell.runs, self.options.runs)) for cell in seeds}
        mine = [cell for cell in seeds if cell.database == self.lanes[process] and len(seeds[cell]) < len(wanted[cell])]
        if mine:
            # The faults in turns, so that a part of the time shows a part of each.
            cell = min(mine, key=lambda cell: (len(seeds[cell]), cell.row.moments.index(cell.moment)))
            seed = min(set(wanted[cell]) - seeds[cell])
            self.under_way[process.submit(lane.run, cell, seed)] = cell, seed, process

    def close(self) -> None:
        """End everything and leave nothing."""
        for process in self.lanes:
            process.submit(lane.end)
        for process in self.lanes:
            process.shutdown()
        shutil.rmtree(self.folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
