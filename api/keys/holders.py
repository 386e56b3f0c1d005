"""Streams end with the keys that they were opened with."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from api.db import Database
from api.keys import repository
from cpt_core.events import now

CHECK_SECONDS = 5.0
"""How often the keys of open streams are looked at, all of a process by one query."""


class Holders:
    """The open streams of this process, by their keys."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._open: dict[str, set[asyncio.Event]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()

    @contextmanager
    def hold(self, key: str | None) -> Iterator[asyncio.Event]:
        """Read a stream by this key, in the event loop. The event is set when the key has ended; without one, never."""
        ended = asyncio.Event()
        if key is None:
            yield ended
            return
        with self._lock:
            self._loop = asyncio.get_running_loop()
            self._open.setdefault(key, set()).add(ended)
        try:
            yield ended
        finally:
            with self._lock:
                self._open[key].discard(ended)
                if not self._open[key]:
                    del self._open[key]

    def tick(self) -> None:
        """Look once. While the database is away streams go on."""
        with self._lock:
            keys = list(self._open)
        if not keys:
            return
        with self._database.read() as session:
            valid = repository.valid(session, keys, now())
        with self._lock:
            ended = [event for key in keys if key not in valid for event in self._open.get(key, ())]
        for event in ended:
            if self._loop is not None:
                self._loop.call_soon_threadsafe(event.set)
