"""Gangs as a state space: jobs of several nodes, slots of workers, and everything that can go wrong between them.

The decisions are those of `api.jobs.gangs` and `api.jobs.ledger`. What surrounds them: slots that ask in any order,
workers that vanish and come back, promises that nobody takes, and attempts that end well or badly. The rows are those
that a claim's transaction reads and writes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from api.jobs import gangs
from api.jobs import ledger as protocol
from api.jobs.gangs import Reserve, Room, Wait
from api.jobs.ledger import Ledger
from cpt_core.events import Finished
from cpt_core.lifecycle import ACTIVE, FINAL, State

MAX_ATTEMPTS = 2
PROMISED = -1
"""In the place of a slot: reserved, and not taken."""


@dataclass(frozen=True)
class Gang:
    """A job and its latest attempt."""

    counts: tuple[int, ...]
    """With how many nodes it may run."""
    ledger: Ledger = field(default_factory=Ledger)
    nodes: tuple[int, ...] = ()
    """Who has each node of the attempt: the number of a slot, or `PROMISED`."""

    @property
    def active(self) -> bool:
        return self.ledger.state in ACTIVE


@dataclass(frozen=True)
class World:
    """One state."""

    gangs: tuple[Gang, ...]
    there: tuple[bool, ...]
    """Of each slot: its worker lives."""
    may_vanish: int = 1


def holders(world: World) -> list[int]:
    return [slot for gang in world.gangs if gang.active for slot in gang.nodes]


def successors(world: World) -> Iterator[tuple[str, World]]:
    """Everything that can happen next."""
    for slot, lives in enumerate(world.there):
        if lives and slot not in holders(world):
            yield from _ask(world, slot)
        if lives and world.may_vanish:
            yield (
                f"slot {slot} vanishes",
                replace(world, there=_at(world.there, slot, False), may_vanish=world.may_vanish - 1),
            )
        if not lives:
            yield f"slot {slot} comes back", replace(world, there=_at(world.there, slot, True))
    for number, gang in enumerate(world.gangs):
        if gang.active:
            yield from _attempt(world, number, gang)


def _ask(world: World, slot: int) -> Iterator[tuple[str, World]]:
    """A free slot claims: first a node that is promised, then the next job in line."""
    for number, gang in enumerate(world.gangs):
        if gang.active and PROMISED in gang.nodes:
            nodes = _at(gang.nodes, gang.nodes.index(PROMISED), slot)
            yield f"slot {slot} joins {number}", _with(world, number, replace(gang, nodes=nodes))
            return
    room = _room(world, slot)
    for number, gang in enumerate(world.gangs):
        if gang.ledger.state is not State.QUEUED or gang.ledger.attempt == MAX_ATTEMPTS:
            continue
        decision = gangs.reserve(gang.counts, room)
        if isinstance(decision, Wait):
            return
        if isinstance(decision, Reserve):
            nodes = (slot, *[PROMISED] * (decision.nodes - 1))
            begun = replace(gang, ledger=protocol.claim(gang.ledger), nodes=nodes)
            yield f"slot {slot} begins {number}", _with(world, number, begun)
            return


def _room(world: World, slot: int) -> Room:
    """What the transaction of a claim counts."""
    held = holders(world)
    free = sum(lives and other not in held for other, lives in enumerate(world.there))
    return Room(total=sum(world.there), free=max(1, free - held.count(PROMISED)))


def _attempt(world: World, number: int, gang: Gang) -> Iterator[tuple[str, World]]:
    silent = [node for node, slot in enumerate(gang.nodes) if slot == PROMISED or not world.there[slot]]
    for node in silent:
        after = gangs.silent(gang.ledger, node, taken=gang.nodes[node] != PROMISED)
        yield f"node {node} of {number} is silent", _with(world, number, replace(gang, ledger=after))
    if not silent:
        running = replace(gang.ledger, state=State.RUNNING)
        for outcome, reason in (("succeeded", "completed"), ("failed", "rank_failed"), ("preempted", "preempted")):
            end = Finished.model_validate({"outcome": outcome, "reason": reason, "message": ""})
            yield f"{number} {outcome}", _with(world, number, replace(gang, ledger=protocol.finish(running, end)))


def _at(values: tuple, place: int, value: object) -> tuple:  # type: ignore[type-arg]
    return (*values[:place], value, *values[place + 1 :])


def _with(world: World, number: int, gang: Gang) -> World:
    return replace(world, gangs=_at(world.gangs, number, gang))


def broken(before: World, world: World) -> str | None:
    """The first promise that does not hold in this state or on the way into it."""
    held = [slot for slot in holders(world) if slot != PROMISED]
    if len(held) != len(set(held)):
        return f"two nodes have one slot: {held}"
    for old, new in zip(before.gangs, world.gangs, strict=True):
        if new.active and len(new.nodes) not in new.counts:
            return f"a gang of {new.counts} has {len(new.nodes)} nodes"
        free = sum(lives and slot not in held for slot, lives in enumerate(world.there))
        if new.active and not old.active and holders(world).count(PROMISED) > free:
            return "slots are promised that nobody has: half a gang holds the others"
        nobody_came = old.active and PROMISED in old.nodes and new.ledger.state is not old.ledger.state
        only = nobody_came and all(slot == PROMISED or world.there[slot] for slot in old.nodes)
        if only and new.ledger.strikes > old.ledger.strikes:
            return "a strike although the job never began"
    return None


@dataclass
class Outcome:
    """What an exploration found."""

    states: int
    violation: str | None = None
    stuck: int = 0
    """States from which the jobs cannot all end any more, were every worker to come back."""
    idle: int = 0
    """States in which nothing can happen although a job waits and every worker is there."""


def explore(start: World) -> Outcome:
    """Visit every state that can be reached from `start`."""
    seen, queue = {start}, [start]
    backward: dict[World, list[World]] = {}
    idle = 0
    for world in queue:
        following = [after for _, after in successors(world)]
        waits = any(gang.ledger.state is State.QUEUED and gang.ledger.attempt < MAX_ATTEMPTS for gang in world.gangs)
        idle += not following and waits
        for after in following:
            violation = broken(world, after)
            if violation:
                return Outcome(len(seen), violation)
            backward.setdefault(after, []).append(world)
            if after not in seen:
                seen.add(after)
                queue.append(after)
    # The bound on attempts is the model's, not the protocol's: a job waiting there is not stuck.
    live = {world for world in queue if all(_over(gang) for gang in world.gangs)}
    reached = list(live)
    for world in reached:
        for earlier in backward.get(world, ()):
            if earlier not in live:
                live.add(earlier)
                reached.append(earlier)
    return Outcome(len(seen), stuck=len(seen) - len(live), idle=idle)


def _over(gang: Gang) -> bool:
    waits_for_good = gang.ledger.state is State.QUEUED and gang.ledger.attempt == MAX_ATTEMPTS
    return gang.ledger.state in FINAL or waits_for_good
