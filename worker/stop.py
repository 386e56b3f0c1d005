"""The wish that this worker shall go, as signals bring it."""

from __future__ import annotations

import time


class Stop:
    """Asked once: running attempts save and end. Asked again: they end at once.

    Written by signal handlers, which may interrupt anything in the main thread: so without locks, and waiting polls.
    """

    _POLL = 0.1

    def __init__(self) -> None:
        self.asked = 0
        """How often."""
        self.first = 0.0
        """When first, on the monotonic clock."""
        self.latest = 0.0
        """When last."""

    def ask(self) -> None:
        """The worker shall go."""
        self.latest = time.monotonic()
        self.first = self.first or self.latest
        self.asked += 1

    def __bool__(self) -> bool:
        return self.asked > 0

    def wait(self, seconds: float) -> None:
        """Sleep so long, or until asked."""
        until = time.monotonic() + seconds
        while not self.asked and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, self._POLL))
