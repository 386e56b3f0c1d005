"""`make chaos`: drive the stack through the matrix, keep what came of it, write docs/reliability.md."""

from __future__ import annotations

import argparse
import fnmatch
import os
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from tests.chaos import faults, kept, page
from tests.chaos.matrix import DATABASES, Cell, cells
from tests.chaos.rig import Rig
from tests.chaos.run import Reference, Run


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
    parser.add_argument("--minutes", type=float, default=1e9, help="begin no run after so many minutes")
    parser.add_argument("--again", action="store_true", help="forget what is kept of these cells")
    parser.add_argument("--mix", default="100,500", help="jobs,faults of a random mix (default: %(default)s)")
    parser.add_argument("--no-page", action="store_true", help="do not write docs/reliability.md")
    parser.add_argument("--keep", type=Path, help="folder for the stack of a run that failed")
    return parser


def _named(cell: Cell, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(cell.name, pattern + "/*" * (2 - pattern.count("/"))) for pattern in patterns)


class Driver:
    """One rig at a time for each database; a run that failed costs the rig its life."""

    def __init__(self, options: argparse.Namespace, chosen: Sequence[Cell]) -> None:
        self.options, self.chosen = options, chosen
        self.rigs: dict[str, tuple[Rig, Reference]] = {}
        self.folder = Path(tempfile.mkdtemp(prefix="cpt-chaos-"))
        self.folder.chmod(0o755)

    def drive(self) -> int:
        """Runs, the cell with the fewest first, until all have theirs. Returns how many failed."""
        failed, end = 0, time.monotonic() + 60 * self.options.minutes
        done = {cell: kept.read(cell) for cell in self.chosen}
        while time.monotonic() < end:
            open_ = [cell for cell in self.chosen if len(done[cell]) < min(cell.row.runs, self.options.runs)]
            if not open_:
                break
            # The faults in turns, so that a part of the time shows a part of each.
            cell = min(open_, key=lambda cell: (len(done[cell]), cell.row.moments.index(cell.moment)))
            result = self.run(cell, len(done[cell]))
            done[cell].append(result)
            kept.write(cell, done[cell])
            failed += not result.passed
        return failed

    def run(self, cell: Cell, seed: int) -> kept.Result:
        """One run."""
        began = time.monotonic()
        problem, recovery, ranks, note = "", None, 0, ""
        try:
            rig, reference = self._rig(cell.database)
            run = Run(rig, reference, cell, seed)
            run.mix = tuple(map(int, self.options.mix.split(",")))
            ranks, note = run.ranks, "{} jobs, {} faults".format(*run.mix) if cell.row.fault == "mix" else ""
            faults.of(cell.row.fault)(run)
            rig.repair()
            problem = "; ".join(run.verify())
            recovery = run.recovery
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"[:600]
            traceback.print_exc()
        took = time.monotonic() - began
        print(f"{cell.name} {seed}: {problem or 'passed'} ({took:.1f} s, recovery {recovery})", flush=True)
        if problem:
            self._discard(cell, seed)
        told = None if recovery is None else round(recovery, 2)
        return kept.Result(seed, f"{datetime.now(UTC):%Y-%m-%d}", ranks, not problem, told, problem[:600], note)

    def _rig(self, database: str) -> tuple[Rig, Reference]:
        if database not in self.rigs:
            for other in list(self.rigs):
                self._close(other)
            rig = Rig(self.folder / f"{database}-{time.time_ns():x}", database, disks=os.geteuid() == 0)
            self.rigs[database] = rig, Reference(rig)
            rig.start_all()
        return self.rigs[database]

    def _discard(self, cell: Cell, seed: int) -> None:
        if cell.database in self.rigs:
            if self.options.keep:
                rig, _ = self.rigs[cell.database]
                there = self.options.keep / f"{cell.name.replace('/', '-')}-{seed}"
                there.mkdir(parents=True, exist_ok=True)
                for file in rig.home.glob("*.log"):
                    shutil.copy(file, there)
                if cell.database == "sqlite":
                    for file in rig.database_file.parent.glob("cpt.db*"):
                        shutil.copy(file, there)
            self._close(cell.database)

    def _close(self, database: str) -> None:
        rig, _ = self.rigs.pop(database)
        rig.close()
        shutil.rmtree(rig.home, ignore_errors=True)

    def close(self) -> None:
        """End everything and leave nothing."""
        for database in list(self.rigs):
            self._close(database)
        shutil.rmtree(self.folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
