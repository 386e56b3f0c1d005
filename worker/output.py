"""What a rank prints, in a file that it goes on writing, on its way to the API and within a limit.

The file keeps growing, but not what it takes on the disk: what the API has is given back, and of what waits and is too
much the middle. The log then says how much is left out; the API sees no gap, as those bytes get no numbers.
"""

from __future__ import annotations

import logging
from pathlib import Path
from threading import Lock

from cpt_core.protocol import MAX_LOG_CHUNK
from worker import disk

log = logging.getLogger(__name__)

KEPT_BYTES = 1024 * 1024
"""The end of the file stays, for who asks what a rank printed last."""


class Output:
    """One file. `piece` and `stored` are for the thread that delivers, `bound` for any."""

    def __init__(self, path: Path, limit_bytes: int) -> None:
        """`limit_bytes`: what may wait."""
        self._path, self._limit = path, limit_bytes
        self._lock = Lock()
        self._can_free = True
        # Places in the file:
        self._place = 0  # the next byte to be delivered
        self._freed = 0  # what is before this has been given back
        self._gap = (0, 0)  # what lies in it was given back, and is left out; empty: nothing is
        self._notice = b""  # comes before the byte at `_place`
        self.offset = 0
        """Where the next piece begins, as the API numbers them."""

    def piece(self) -> bytes:
        """What comes next, the same until it is stored; empty: nothing for now."""
        with self._lock:
            if self._notice:
                return self._notice
            start, stop = self._gap
            length = MAX_LOG_CHUNK if start == stop else min(MAX_LOG_CHUNK, start - self._place)
            try:
                with self._path.open("rb") as file:
                    file.seek(self._place)
                    return file.read(length)
            except FileNotFoundError:  # it has not started
                return b""

    def stored(self, size: int) -> None:
        """The API has `size` bytes."""
        with self._lock:
            taken, self.offset = max(0, size - self.offset), size
            if self._notice:
                self._notice = self._notice[taken:]
                return
            self._place += taken
            start, stop = self._gap
            if start < stop and self._place >= start:
                self._notice = b"\n[%d bytes are left out here: more was printed than could be sent]\n" % (stop - start)
                self._place, self._gap = stop, (0, 0)
            self._give_back(self._freed, self._place - KEPT_BYTES, least=KEPT_BYTES)

    def bound(self) -> None:
        """Keep within the limit."""
        try:
            size = self._path.stat().st_size
        except FileNotFoundError:
            return
        with self._lock:
            start, stop = self._gap
            if size - self._place - (stop - start) <= self._limit:
                return
            if start == stop:
                start = stop = self._place + MAX_LOG_CHUNK  # what is before it may be on its way
            end = max(stop, size - self._limit // 2)
            if self._give_back(stop, end):
                self._gap = (start, end)

    def _give_back(self, start: int, stop: int, least: int = 1) -> bool:
        """Free what is between these places, if it is so much; False: it is still there."""
        if not self._can_free or stop - start < least:
            return False
        try:
            with self._path.open("r+b") as file:
                disk.free(file.fileno(), start, stop)
        except OSError as error:
            log.warning("output of ranks takes disk space until their attempt ends: %s", error)
            self._can_free = False
            return False
        self._freed = max(self._freed, stop) if start <= self._freed else self._freed
        return True
