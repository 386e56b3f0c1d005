"""Commands whose output is kept, so that what is kept is not run again, and the pages that are written from it."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]

Record = dict[str, Any]
"""What is kept of a command: itself, the date, the minutes it took, and its output."""

_PROGRAMS = {"cpt": [sys.executable, "-m", "cpt_client"], "python": [sys.executable]}
"""What the first word of a command stands for."""


@dataclass(frozen=True)
class Kept:
    """A command that prints JSON, as a person writes it, and the file for its output."""

    command: tuple[str, ...]
    path: Path

    @property
    def here(self) -> bool:
        """Whether it has been run."""
        return self.path.exists()

    @property
    def record(self) -> Record:
        record: Record = json.loads(self.path.read_text())
        return record

    @property
    def written(self) -> str:
        """The command as it stands on a page."""
        return shlex.join(self.command)

    def run(self, options: Sequence[str] = (), cores: Collection[int] | None = None) -> None:
        """Run it from the root of the repository and keep the output.

        Args:
            options: added to the command, such as folders, which no page shows.
            cores: to run on; by default as many as this process has.
        """
        print(self.written, flush=True)
        program, *arguments = self.command
        began = time.monotonic()
        done = subprocess.run(
            [*_PROGRAMS[program], *arguments, *options],
            stdout=subprocess.PIPE,
            check=True,
            cwd=ROOT,
            preexec_fn=None if cores is None else lambda: os.sched_setaffinity(0, cores),
        )
        record = {
            "command": self.written,
            "date": f"{datetime.now(UTC):%Y-%m-%d}",
            "minutes": round((time.monotonic() - began) / 60, 1),
            "output": json.loads(done.stdout),
        }
        self.path.parent.mkdir(exist_ok=True)
        self.path.write_text(json.dumps(record, indent=1) + "\n")


def code_block(records: Sequence[Record]) -> str:
    """The commands of records as Markdown, with what they took and when."""
    lines = [f"{record['command']}  # {record['minutes']:.1f} min, {record['date']}" for record in records]
    return "\n".join(["```", *lines, "```"])


def fill(page: Path, parts: Mapping[str, str]) -> None:
    """Put each part between its markers, `<!-- NAME -->` and `<!-- /NAME -->`, on the page."""
    text = page.read_text()
    for name, part in parts.items():
        begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        if text.count(begin) != 1 or text.count(end) != 1:
            raise ValueError(f"{page.name} does not have {begin} and {end} once each")
        before, _, rest = text.partition(begin)
        _, _, after = rest.partition(end)
        text = f"{before}{begin}\n\n{part}\n\n{end}{after}"
    page.write_text(text)
