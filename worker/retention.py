"""Deletes the checkpoints that newer registered ones have made superfluous."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Lock

from cpt_core.checkpoint import CheckpointError
from cpt_core.events import Checkpoint

log = logging.getLogger(__name__)


class Retention:
    """Keeps the last `keep_last` registered checkpoints of an attempt.

    A checkpoint is registered once the API has acknowledged its record; only then may it make others superfluous, since
    the next attempt resumes from the last registered one. Once this attempt has `keep_last` of its own, `earlier` goes.
    """

    def __init__(self, delete: Callable[[Sequence[str]], None], *, earlier: Sequence[str], keep_last: int) -> None:
        """`earlier`: folders with the checkpoints of the job's former attempts, which can register none any more.

        `delete` is called in a thread of its own, as storage may be slow. If it raises CheckpointError it is called
        again after the next checkpoint.
        """
        self._delete, self._keep_last = delete, keep_last
        self._earlier = list(earlier)
        self._written: deque[tuple[int, str]] = deque()
        self._registered: list[str] = []
        self._doomed: list[str] = []
        self._lock = Lock()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="retention")

    def written(self, seq: int, checkpoint: Checkpoint) -> None:
        """Record `seq` tells of a checkpoint."""
        with self._lock:
            self._written.append((seq, checkpoint.path))

    def acked(self, seq: int) -> None:
        """The records up to `seq` are stored."""
        with self._lock:
            news = False
            while self._written and self._written[0][0] <= seq:
                path = self._written.popleft()[1]
                # The last step's checkpoint may replace a regular one of the same step.
                self._registered = [other for other in self._registered if other != path] + [path]
                news = True
            if not news or len(self._registered) < self._keep_last:
                return
            self._doomed += self._earlier + self._registered[: -self._keep_last]
            self._earlier = []
            self._registered = self._registered[-self._keep_last :]
            if self._doomed:
                self._thread.submit(self._try)

    def _try(self) -> None:
        with self._lock:
            doomed = list(self._doomed)
        try:
            self._delete(doomed)
        except CheckpointError as error:
            log.warning("old checkpoints are left for now: %s", error)
            return
        except Exception:
            log.exception("old checkpoints cannot be deleted")
            return
        with self._lock:
            self._doomed = [path for path in self._doomed if path not in doomed]

    def close(self, *, wait: bool) -> None:
        """No more; `wait` for what is under way."""
        self._thread.shutdown(wait=wait, cancel_futures=not wait)
