"""How often an attempt calls the API, and when it gives up. Pure. All times are seconds of one monotonic clock."""

from __future__ import annotations

import random
from dataclasses import dataclass

BATCH_RECORDS = 500
"""Records that are delivered without waiting for the interval, and the most in one append."""
BATCH_BYTES = 1024 * 1024
"""The most bytes of records in one append."""

_LONGEST_SILENCE = 2.0  # a wish to cancel or pause comes with the answer
_LONGEST_BACKOFF = 5.0
_LONGEST_REQUEST = 10.0


@dataclass(frozen=True, slots=True)
class Timing:
    """The periods of one attempt."""

    interval: float
    """Between two deliveries while records wait."""
    heartbeat: float
    """Between two deliveries while none wait."""
    request: float
    """What one request may take."""
    blind: float
    """Without an answer the attempt is stopped."""


def timing(lease: float, *, interval: float, blind: float | None = None) -> Timing:
    """The periods that fit a lease of `lease` seconds.

    Two heartbeats may go unanswered before the attempt counts as blind. `interval` is shortened to a sixth of the
    lease, and `blind` to nine tenths of it, so that the worker stops before the API gives the job to another.
    """
    sixth = lease / 6
    return Timing(
        interval=min(interval, sixth),
        heartbeat=min(max(interval, _LONGEST_SILENCE), sixth),
        request=min(_LONGEST_REQUEST, lease / 3),
        blind=min(lease * 2 / 3 if blind is None else blind, lease * 0.9),
    )


def backoff(failures: int) -> float:
    """Seconds to wait after so many failures in a row: doubled each time, at most 5, shortened by chance by up to half.

    The chance keeps workers from calling all at once when the API comes back.
    """
    longest = min(_LONGEST_BACKOFF, 0.25 * 2.0 ** min(failures, 10))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - not for secrets
