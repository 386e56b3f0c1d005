"""Why and how the worker stops an attempt's processes. Pure."""

from __future__ import annotations

from collections.abc import Set
from enum import Enum, auto
from typing import Literal


class Cause(Enum):
    """Why the worker stops an attempt's processes."""

    CANCEL = auto()
    """The API commands it."""
    PAUSE = auto()
    """The API commands it."""
    GO = auto()
    """The worker was told to go."""
    GO_NOW = auto()
    """The worker was told so again."""
    BLIND = auto()
    """The API has been silent for too long."""
    HUNG = auto()
    """Training makes no progress."""
    TIMEOUT = auto()
    """Training has run for as long as its spec allows."""
    REFUSED = auto()
    """The API refuses a record."""
    NODE = auto()
    """The processes of another node have ended."""
    LOST = auto()
    """The attempt no longer holds its job."""


AT_ONCE = frozenset({Cause.GO_NOW, Cause.BLIND, Cause.HUNG, Cause.REFUSED, Cause.LOST})
"""Causes for KILL without a TERM before: a checkpoint would be of no use, or cannot be expected."""

GOING_SHARE = 0.8
"""Share of the grace that training has when the worker itself must go; the rest is for delivering the last records."""


def measure(
    causes: Set[Cause], *, now: float, told: float | None, going: float, grace: float
) -> Literal["none", "term", "kill"]:
    """What to do to the processes now.

    Args:
        causes: all there have been.
        now: the time.
        told: when they were sent TERM; None: not yet.
        going: when the worker was told to go, if it was.
        grace: seconds from TERM to KILL.
    """
    if not causes:
        return "none"
    if causes & AT_ONCE:
        return "kill"
    if told is None:
        return "term"
    deadline = told + grace
    if Cause.GO in causes:
        deadline = min(deadline, going + GOING_SHARE * grace)
    return "kill" if now >= deadline else "none"
