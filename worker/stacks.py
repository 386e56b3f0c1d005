"""What the ranks of a hung training are doing, in their own words."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import psutil

from cpt_core import launch
from cpt_core.events import Log
from cpt_core.process import STACKS_SIGNAL

_ANSWER_SECONDS = 3.0
_LOOK_SECONDS = 0.1
_LONGEST = 8000


def stacks(ranks: Mapping[int, int], log_dir: Path) -> Iterator[Log]:
    """One log record for each rank in `ranks`, by its process id: the stacks of its threads, or why there are none.

    A rank writes them to its output in `log_dir` when it is sent STACKS_SIGNAL, see `cpt_core.process`.
    """
    outputs = {rank: launch.output_file(log_dir, rank) for rank in ranks}
    before = {rank: output.stat().st_size if output.exists() else 0 for rank, output in outputs.items()}
    for process in ranks.values():
        with suppress(ProcessLookupError):
            os.kill(process, STACKS_SIGNAL)
    answers = _settled({rank: (outputs[rank], before[rank]) for rank in ranks})
    for rank, process in ranks.items():
        message = answers[rank] or f"no stacks: process {process} does not answer; it is {_status(process)}"
        yield Log(level="warning", rank=rank, message=message[-_LONGEST:])  # the main thread comes last


def _settled(places: Mapping[int, tuple[Path, int]]) -> dict[int, str]:
    """What has been written behind each place, once all have something and nothing is added, or no time is left."""
    until = time.monotonic() + _ANSWER_SECONDS
    latest: dict[int, str] = {}
    while True:
        found = {rank: _written(output, start) for rank, (output, start) in places.items()}
        if (all(found.values()) and found == latest) or time.monotonic() > until:
            return found
        latest = found
        time.sleep(_LOOK_SECONDS)


def _written(output: Path, start: int) -> str:
    try:
        with output.open("rb") as file:
            file.seek(start)
            return file.read().decode("utf-8", "replace").strip()
    except FileNotFoundError:
        return ""


def _status(process: int) -> str:
    try:
        return str(psutil.Process(process).status())
    except psutil.Error:
        return "gone"
