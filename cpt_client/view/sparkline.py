"""Curves one line high."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

LEVELS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float], width: int) -> str:
    """The values, oldest first, as a line of at most `width` blocks between their own minimum and maximum.

    More values than blocks: each block shows the mean of its share.
    """
    if not values or width < 1:
        return ""
    count = min(width, len(values))
    edges = [len(values) * i // count for i in range(count + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in itertools.pairwise(edges)]
    low, high = min(means), max(means)
    if high == low:
        return LEVELS[len(LEVELS) // 2] * count
    return "".join(LEVELS[round((mean - low) / (high - low) * (len(LEVELS) - 1))] for mean in means)


class Series:
    """A curve of any length in bounded memory: when full, neighbours are averaged in pairs."""

    def __init__(self, capacity: int = 2048) -> None:
        self._capacity = capacity
        self._stride = 1
        self._sum, self._count = 0.0, 0
        self.values: list[float] = []
        """Means of equally many values each, oldest first."""

    def append(self, value: float) -> None:
        """Add the next value."""
        self._sum += value
        self._count += 1
        if self._count < self._stride:
            return
        self.values.append(self._sum / self._count)
        self._sum, self._count = 0.0, 0
        if len(self.values) >= self._capacity:
            self.values = [(a + b) / 2 for a, b in zip(self.values[::2], self.values[1::2], strict=False)]
            self._stride *= 2
