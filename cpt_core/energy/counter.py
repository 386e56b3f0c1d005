"""A cumulative hardware counter, read as joules since it was opened."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


class UnavailableError(Exception):
    """There is no such counter here; the message tells why, for a person."""


@dataclass(slots=True)
class Counter:
    """Sums what `read` grew by. Must be read more often than the counter takes to go round once (minutes for RAPL)."""

    read: Callable[[], int]
    """The counter's present value. Raises OSError when it can no longer be read."""
    joules_per_count: float
    """Unit of the value."""
    modulus: int | None = None
    """Where the counter starts again from 0; None: it does not."""

    _last: int = 0
    _counts: int = 0

    def __post_init__(self) -> None:
        self._last = self.read()

    def joules(self) -> float:
        """Joules since this was made."""
        value = self.read()
        grown = value - self._last
        self._counts += grown % self.modulus if self.modulus else grown
        self._last = value
        return self._counts * self.joules_per_count
