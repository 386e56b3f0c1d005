"""Decisions on jobs of several nodes, pure: whether their slots can be had now, and what becomes of a silent node.

A gang is had whole or not at all: one transaction counts free slots and reserves one for each node. A slot that is
promised counts as taken from then on, so no two gangs can wait for each other's. tests/protocol explores these
functions with two gangs, workers that vanish, and reservations that nobody comes for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from api.jobs import ledger as protocol
from api.jobs.ledger import Ledger


@dataclass(frozen=True, slots=True)
class Room:
    """Slots that could train a node of some job."""

    total: int
    """Of all workers that are there."""
    free: int
    """Those neither held nor promised, the asking one among them."""


@dataclass(frozen=True, slots=True)
class Reserve:
    """The job begins, on so many nodes: the asking slot is the first."""

    nodes: int


@dataclass(frozen=True, slots=True)
class Wait:
    """The workers that are there can hold the job, but not now: the slot stays free for it."""


@dataclass(frozen=True, slots=True)
class Pass:
    """The workers that are there cannot hold the job: others go first."""


def reserve(counts: Sequence[int], room: Room) -> Reserve | Wait | Pass:
    """What a free slot does about the job that is next in line.

    Args:
        counts: with how many nodes it may run, in rising order.
        room: the slots that could train one.
    """
    possible = [nodes for nodes in counts if nodes <= room.total]
    if not possible:
        return Pass()
    return Reserve(possible[-1]) if possible[-1] <= room.free else Wait()


def silent(ledger: Ledger, node: int, *, taken: bool) -> Ledger:
    """A node has not been heard of for the whole lease. A promise that nobody took is nobody's fault."""
    if not taken:
        return protocol.release(ledger, f"node {node} was not there in time; the other nodes are free again")
    return protocol.expire(ledger, f"the worker of node {node}" if node else "the worker")
