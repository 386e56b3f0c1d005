"""When a request is tried again, and how long to wait before."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import TYPE_CHECKING

from cpt_client.errors import CptError, unreachable

if TYPE_CHECKING:
    import httpx

TRANSIENT = frozenset({408, 429, 502, 503, 504})
"""HTTP statuses after which the same request may succeed."""


def may_pass(http: httpx.Client | httpx.AsyncClient, error: httpx.TransportError | CptError) -> CptError:
    """The failure that a request met, for whoever tries again.

    Raises:
        CptError: the server refuses, and will do so again.
    """
    if not isinstance(error, CptError):
        return unreachable(str(http.base_url), error)
    if error.status not in TRANSIENT:
        raise error
    return error


def delays(first: float, longest: float) -> Iterator[float]:
    """Endless waiting times in seconds: doubling from `first` up to `longest`, each cut by up to half at random.

    The random part keeps clients apart that lost the same server at the same moment.
    """
    delay = first
    while True:
        yield delay * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
        delay = min(2 * delay, longest)
