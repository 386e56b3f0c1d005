"""What is new in a log, read once for all who listen in this process.

A listener holds no queue, only a position. Near the head of the log it takes what it lacks from the feed's ring of
latest entries; further behind, or when it has fallen out of the ring, it reads the database by itself. So a listener
that is slow costs no memory, and whatever it reads from, positions decide what it gets: nothing is missed or repeated.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import takewhile

from anyio import CapacityLimiter, to_thread
from sqlalchemy.exc import SQLAlchemyError

from api.problems import ApiError

logger = logging.getLogger(__name__)

RING_ENTRIES = 2000
RETRY_SECONDS = 1.0
KEEP_ALIVE_SECONDS = 15.0
"""After so much silence listeners are sent a comment, so that proxies and clients know the connection to be alive."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One message of a stream."""

    position: int
    kind: str
    data: bytes
    """As it is sent."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What was read behind a position."""

    entries: tuple[Entry, ...]
    head: int
    """Nothing else lies up to here."""
    more: bool
    """There is more behind `head`."""
    end: str | None
    """What the log ended with, if nothing will ever follow."""


Read = Callable[[int], Batch]
"""Reads what lies behind a position; called in a thread."""


def message(kind: str, data: str, position: int | None) -> bytes:
    """A server-sent event; `data` has no line ends."""
    place = "" if position is None else f"id: {position}\n"
    return f"{place}event: {kind}\ndata: {data}\n\n".encode()


class Feed:
    """The latest entries of one log. For the event loop.

    `tail` < positions in the ring <= `head`, without a gap.
    """

    def __init__(self, start: int, read: Read, *, interval: float, patience: Callable[[], float]) -> None:
        """`interval`: seconds between two reads at least. `patience`: seconds after which it looks unasked."""
        self._read, self._interval, self._patience = read, interval, patience
        self._ring: deque[Entry] = deque()
        self._dirty = asyncio.Event()
        self._dirty.set()  # what was committed before this feed could be woken
        self._grown = asyncio.Event()
        self._shared: dict[frozenset[str] | None, tuple[int, int, bytes]] = {}
        self._told = time.monotonic()
        self.tail = self.head = start
        self.end: str | None = None
        """What the log ended with."""
        self.failed: ApiError | None = None
        """Why nothing can be read any more, such as a deleted job."""
        self.listeners = 0

    def wake(self) -> None:
        """The log has grown, or may have."""
        self._dirty.set()

    async def run(self) -> None:
        """Read whatever comes until the log ends."""
        limiter = CapacityLimiter(1)  # not one of the threads that serve requests: those may all wait for locks
        while self.end is None:
            silence = self._told + KEEP_ALIVE_SECONDS - time.monotonic()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(self._patience(), silence)):
                    await self._dirty.wait()
            self._dirty.clear()
            try:
                batch = await to_thread.run_sync(self._read, self.head, limiter=limiter)
            except SQLAlchemyError as error:
                logger.warning("streams wait for the database: %s", error)
                await asyncio.sleep(RETRY_SECONDS)
                self._dirty.set()
                continue
            except ApiError as error:
                self.failed = error
                self._notify()
                return
            self._take(batch)
            if batch.more:
                self._dirty.set()
            elif self.end is None:
                await self._pause()

    async def _pause(self) -> None:
        """Let the listeners send, then leave as much time again to the requests that make the log grow.

        So many listeners get fewer and larger messages.
        """
        began = time.monotonic()
        for _ in range(2):  # uvloop writes what has been sent at the end of a round
            await asyncio.sleep(0)
        await asyncio.sleep(max(self._interval, time.monotonic() - began))

    def _take(self, batch: Batch) -> None:
        if batch.head > self.head or batch.end is not None:
            self._ring.extend(batch.entries)
            self.head, self.end = batch.head, batch.end
            while len(self._ring) > RING_ENTRIES:
                self.tail = self._ring.popleft().position
            while self._ring and self._ring[0].position <= self.tail:  # those of one stamp go together
                self._ring.popleft()
            self._notify()
        elif time.monotonic() - self._told >= KEEP_ALIVE_SECONDS:
            self._notify()

    def _notify(self) -> None:
        self._told = time.monotonic()
        grown, self._grown = self._grown, asyncio.Event()
        grown.set()

    async def grown(self, position: int) -> None:
        """Until there is something behind the position, or never will be, or there has been nothing for long."""
        if self.head <= position and self.end is None and self.failed is None:
            await self._grown.wait()

    def after(self, position: int, kinds: frozenset[str] | None) -> bytes:
        """The ring's entries of these kinds behind a position that is not before `tail`."""
        shared = self._shared.get(kinds)
        if shared is None or shared[:2] != (position, self.head):
            shared = self._shared[kinds] = (position, self.head, self._joined(position, kinds))
        return shared[2]

    def _joined(self, position: int, kinds: frozenset[str] | None) -> bytes:
        new = list(takewhile(lambda entry: entry.position > position, reversed(self._ring)))
        return b"".join(entry.data for entry in reversed(new) if kinds is None or entry.kind in kinds)
