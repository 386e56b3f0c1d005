"""What the ranks of a hung training were doing, by py-spy where the worker has it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Mapping

from cpt_core.events import Log

_DUMP_SECONDS = 10.0
_LONGEST = 8000


def stacks(ranks: Mapping[int, int]) -> Iterator[Log]:
    """One log record for each rank's process id in `ranks`, with the stacks of its threads, or why there are none."""
    program = shutil.which("py-spy")
    if program is None:
        yield Log(level="warning", message="no stacks of the hung processes: py-spy is not installed on the worker")
        return
    for rank, process in ranks.items():
        yield Log(level="warning", rank=rank, message=_dump(program, process)[-_LONGEST:])


def _dump(program: str, process: int) -> str:
    try:
        done = subprocess.run(
            [program, "dump", "--nonblocking", "--pid", str(process)],
            capture_output=True,
            text=True,
            timeout=_DUMP_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"no stacks: {error}"
    return done.stdout if done.returncode == 0 else f"no stacks: py-spy: {done.stderr.strip()}"
