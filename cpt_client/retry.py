"""When a request is tried again, and how long to wait before."""

from __future__ import annotations

import random
from collections.abc import Iterator

TRANSIENT = frozenset({408, 429, 502, 503, 504})
"""HTTP statuses after which the same request may succeed."""


def delays(first: float, longest: float) -> Iterator[float]:
    """Endless waiting times in seconds: doubling from `first` up to `longest`, each cut by up to half at random.

    The random part keeps clients apart that lost the same server at the same moment.
    """
    delay = first
    while True:
        yield delay * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
        delay = min(2 * delay, longest)
