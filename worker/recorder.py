"""From rank 0's FIFO into the spool: events are checked and numbered; the `finished` event is held back."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from pydantic import ValidationError

from cpt_core.events import AnyEvent, Finished, Log, dump, parse
from worker.fifo import Fifo
from worker.spool import Spool

log = logging.getLogger(__name__)

_LINES_AT_ONCE = 1000
_LONGEST_QUOTE = 1000
_DISK_RETRY_SECONDS = 1.0


class Recorder:
    """Takes what rank 0 writes while the spool has room for it. Used by one thread."""

    def __init__(
        self,
        fifo: Fifo,
        spool: Spool,
        *,
        on_event: Callable[[AnyEvent], None],
    ) -> None:
        """`on_event` is told of each event."""
        self._fifo, self._spool = fifo, spool
        self._on_event = on_event
        self._disk_full_until = 0.0
        self.finished: Finished | None = None
        """How rank 0 says it ended. It becomes a record only when no process is left."""

    @property
    def reading(self) -> bool:
        """There is room: training need not wait for the worker."""
        return not self._spool.full and time.monotonic() >= self._disk_full_until

    def take(self) -> bool:
        """Move lines from the FIFO to the spool; whether there may be more at once."""
        for _ in range(_LINES_AT_ONCE):
            if not self.reading:
                return False
            line = self._fifo.next_line()
            if line is None:
                return False
            if not self._record(line):
                self._fifo.put_back(line)
                return False
        return True

    def wait(self, seconds: float, other: int | None = None) -> None:
        """Return when there is something to take, or to read from the descriptor `other`, or after so many seconds."""
        if self.reading:
            self._fifo.wait(seconds, other)
        else:
            time.sleep(seconds)

    def _record(self, line: bytes) -> bool:
        if self.finished is not None:  # nothing follows the end
            return True
        try:
            event = parse(line)
        except ValidationError as error:
            quote = line[:_LONGEST_QUOTE].decode("utf-8", "replace")
            problem = error.errors(include_url=False)[0]["msg"]
            return self.put(Log(level="error", message=f"rank 0 wrote a line that is no event ({problem}): {quote}"))
        if isinstance(event, Finished):
            self.finished = event
        elif not self.put(event):
            return False
        self._on_event(event)
        return True

    def put(self, event: AnyEvent) -> bool:
        """Append a record; False if the disk does not take it now."""
        try:
            self._spool.put(dump(event).encode())
        except OSError as error:
            log.warning("the spool cannot be written, training waits: %s", error)
            self._disk_full_until = time.monotonic() + _DISK_RETRY_SECONDS
            return False
        return True
