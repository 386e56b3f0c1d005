"""Whether training still makes progress. Pure: the caller brings events and the time."""

from __future__ import annotations

import statistics
from collections import deque

from cpt_core.events import AnyEvent, Started, StepDone

_STEPS = 64
_OWN_GAP = 5.0


class Watchdog:
    """Counts the time without an event from rank 0, against a limit that fits the pace of the training.

    The limit is `startup` before training begins, then the larger of `floor` and `steps` times the median of the last
    64 steps' times. Time in which the worker itself did not run or did not read does not count.
    """

    def __init__(
        self, now: float, *, floor: float, steps: float, startup: float, no_progress: float | None = None
    ) -> None:
        """`no_progress`: the limit once training has begun, in place of `floor` and `steps`."""
        self._floor, self._steps, self._startup, self._no_progress = floor, steps, startup, no_progress
        self._progress = self._looked = now
        self._started = False
        self._last: StepDone | None = None
        self._times: deque[float] = deque(maxlen=_STEPS)

    def saw(self, event: AnyEvent, now: float) -> None:
        """Rank 0 wrote something."""
        self._progress = now
        if isinstance(event, Started):
            self._started = True
        if isinstance(event, StepDone):
            if self._last is not None and event.step > self._last.step:
                seconds = (event.time - self._last.time).total_seconds()
                self._times.append(max(0.0, seconds) / (event.step - self._last.step))
            self._last = event

    @property
    def limit(self) -> float:
        """Seconds without progress that are too many."""
        if not self._started:
            return self._startup
        if self._no_progress is not None:
            return self._no_progress
        pace = statistics.median(self._times) if self._times else 0.0
        return max(self._floor, self._steps * pace)

    def is_hung(self, now: float, *, reading: bool = True) -> bool:
        """Nothing for longer than the limit. `reading`: events are being read, so that training need not wait."""
        gap = now - self._looked
        self._looked = now
        if not reading:
            self._progress = now
        elif gap > _OWN_GAP:
            self._progress += gap
        return now - self._progress > self.limit
