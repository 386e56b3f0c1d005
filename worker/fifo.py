"""The FIFO into which rank 0 writes its events, one a line."""

from __future__ import annotations

import os
import select
from collections import deque
from pathlib import Path

_READ_BYTES = 64 * 1024


class Fifo:
    """Complete lines, in order. What is not read stays in the pipe, and once that is full rank 0 waits in `write`."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path, 0o600)
        # Opened for writing too: so there is no end of file between two writers, and rank 0's open never waits.
        self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self._lines: deque[bytes] = deque()
        self._partial = b""

    def wait(self, seconds: float, other: int | None = None) -> None:
        """Return once there is something to read, here or from the descriptor `other`, or after so many seconds."""
        if not self._lines:
            select.select([self._fd] if other is None else [self._fd, other], [], [], seconds)

    def next_line(self) -> bytes | None:
        """The next line without its end; None if there is no complete one yet."""
        if not self._lines:
            self._read()
        return self._lines.popleft() if self._lines else None

    def put_back(self, line: bytes) -> None:
        """Have `next_line` answer this line again."""
        self._lines.appendleft(line)

    def _read(self) -> None:
        try:
            data = os.read(self._fd, _READ_BYTES)
        except BlockingIOError:
            return
        *lines, self._partial = (self._partial + data).split(b"\n")
        self._lines.extend(lines)

    def close(self) -> None:
        """Close the reading end; what was not read is lost."""
        os.close(self._fd)
