"""Where rank 0 writes its events: a file or a FIFO, one whole line each."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from cpt_core.events import AnyEvent, dump

Emit = Callable[[AnyEvent], None]
"""Takes one event."""


class Recorder:
    """Appends events to a file or FIFO. Writes block: while nobody reads a full FIFO, training waits."""

    def __init__(self, path: Path) -> None:
        """Open `path` for appending; a file is made if it is missing, a FIFO waits for its reader.

        Raises:
            OSError: it cannot be opened.
        """
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def __call__(self, event: AnyEvent) -> None:
        """Write the event. Nothing is buffered here.

        Raises:
            OSError: the reader is gone, or the disk is full.
        """
        line = memoryview(dump(event).encode() + b"\n")
        while line:
            line = line[os.write(self._descriptor, line) :]


def ignore(_event: AnyEvent) -> None:
    """What ranks other than 0 do with events."""
