"""How many requests are let through: token buckets in this process's memory.

A bucket holds a minute's requests and fills evenly. With several processes each has its own buckets, so that a client
which the balancer spreads over N of them gets up to N times as many: a limit guards the service, it is no bill. No
request waits for a network to be counted, and the count needs no Redis.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

_FULL_AGAIN = 60.0
"""Seconds after which an untouched bucket is full, and need not be remembered."""


@dataclass(slots=True)
class _Bucket:
    tokens: float
    filled_at: float


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a bucket said."""

    name: str
    per_minute: int
    remaining: int
    """Requests left at this moment."""
    wait: float
    """Seconds until there is one again; 0: the request is let through."""

    def headers(self) -> dict[str, str]:
        """As draft-ietf-httpapi-ratelimit-headers has it: `r` left, `t` seconds until the next is."""
        wait = math.ceil(self.wait) if self.wait else math.ceil(60 / self.per_minute)
        return {
            "RateLimit-Policy": f'"{self.name}";q={self.per_minute};w=60',
            "RateLimit": f'"{self.name}";r={self.remaining};t={wait}',
        }


class Buckets:
    """Buckets by name. For one thread, the event loop's."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: dict[str, _Bucket] = {}
        self._swept_at = clock()

    def take(self, kind: str, owner: str, per_minute: int) -> Allowance:
        """Take one request out of the bucket of this owner, if it has one."""
        moment = self._clock()
        self._sweep(moment)
        bucket = self._buckets.setdefault(f"{kind} {owner}", _Bucket(per_minute, moment))
        rate = per_minute / 60
        bucket.tokens = min(per_minute, bucket.tokens + (moment - bucket.filled_at) * rate)
        bucket.filled_at = moment
        if bucket.tokens < 1:
            return Allowance(kind, per_minute, 0, (1 - bucket.tokens) / rate)
        bucket.tokens -= 1
        return Allowance(kind, per_minute, int(bucket.tokens), 0.0)

    def _sweep(self, moment: float) -> None:
        if moment - self._swept_at < _FULL_AGAIN:
            return
        self._swept_at = moment
        self._buckets = {
            name: bucket for name, bucket in self._buckets.items() if moment - bucket.filled_at < _FULL_AGAIN
        }
