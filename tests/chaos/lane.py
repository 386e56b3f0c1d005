"""Where runs of cells take place: a process with a stack of its own."""

from __future__ import annotations

import argparse
import os
import shutil
import time
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.chaos import faults, kept
from tests.chaos.matrix import Cell
from tests.chaos.rig import Rig
from tests.chaos.run import Reference, Run


class Lane:
    """A rig on one database, one at a time, in a process of its own; a run that failed costs the rig its life."""

    def __init__(self, options: argparse.Namespace, database: str, folder: Path) -> None:
        self.options, self.database, self.folder = options, database, folder
        self.rig: Rig | None = None
        self.reference: Reference | None = None

    def run(self, cell: Cell, seed: int) -> kept.Result:
        """One run."""
        began = time.monotonic()
        problem, recovery, ranks, note = "", None, 0, ""
        try:
            rig, reference = self._open()
            run = Run(rig, reference, cell, seed)
            run.mix = tuple(map(int, self.options.mix.split(",")))
            ranks, note = run.ranks, "{} jobs, {} faults".format(*run.mix) if cell.row.fault == "mix" else ""
            problem = "; ".join(conduct(run))
            if not problem:
                run.forget()
            recovery = run.recovery
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"[:600]
            traceback.print_exc()
        took = time.monotonic() - began
        print(f"{cell.name} {seed}: {problem or 'passed'} ({took:.1f} s, recovery {recovery})", flush=True)
        if problem:
            self._keep_logs(f"{cell.name.replace('/', '-')}-{seed}")
            self.close()
        told = None if recovery is None else round(recovery, 2)
        return kept.Result(seed, f"{datetime.now(UTC):%Y-%m-%d}", ranks, not problem, told, problem[:600], note)

    def _open(self) -> tuple[Rig, Reference]:
        if self.rig is None or self.reference is None:
            home = self.folder / f"{self.database}-{time.time_ns():x}"
            self.rig = Rig(home, self.database, disks=os.geteuid() == 0)
            self.reference = Reference(self.rig)
            self.rig.start_all()
        return self.rig, self.reference

    def _keep_logs(self, name: str) -> None:
        if self.rig is None or self.options.keep is None:
            return
        there = self.options.keep / name
        there.mkdir(parents=True, exist_ok=True)
        files = list(self.rig.home.glob("*.log"))
        if self.database == "sqlite":
            files += self.rig.database_file.parent.glob("cpt.db*")
        for file in files:
            shutil.copy(file, there)

    def close(self) -> None:
        """End the rig and leave nothing of it."""
        rig, self.rig, self.reference = self.rig, None, None
        if rig is not None:
            rig.close()
            shutil.rmtree(rig.home, ignore_errors=True)


def conduct(run: Run) -> list[str]:
    """Do what the run is about, and have everything up again. Returns what is wrong then."""
    faults.of(run.cell.row.fault)(run)
    run.submitted()
    run.rig.repair()
    return run.verify()


_lane: Lane


def begin(*arguments: Any) -> None:
    """A lane's process begins."""
    global _lane
    _lane = Lane(*arguments)


def run(cell: Cell, seed: int) -> kept.Result:
    """One run on this process's lane."""
    return _lane.run(cell, seed)


def end() -> None:
    """A lane's process ends."""
    _lane.close()
