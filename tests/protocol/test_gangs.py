"""Gangs are had whole or not at all in every reachable state, and never wait for each other."""

from collections.abc import Sequence

import pytest

from api.jobs import gangs
from api.jobs.gangs import Pass, Reserve, Room, Wait
from tests.protocol.gangs import Gang, World, explore

SCENARIOS = {
    "two of two nodes on two slots": World((Gang((2,)), Gang((2,))), (True, True)),
    "two of two nodes on three slots": World((Gang((2,)), Gang((2,))), (True,) * 3),
    "two and three nodes on three slots": World((Gang((2,)), Gang((3,))), (True,) * 3),
    "one that would do with fewer, and a job of one": World((Gang((2, 3)), Gang((1,))), (True,) * 3, may_vanish=2),
    "two of two nodes on four slots": World((Gang((2,)),) * 2, (True,) * 4, may_vanish=0),
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_no_interleaving_breaks_a_promise_or_gets_stuck(name: str) -> None:
    outcome = explore(SCENARIOS[name])
    assert outcome.violation is None
    assert (outcome.stuck, outcome.idle) == (0, 0)
    assert outcome.states > 100


def test_without_counting_half_a_gang_holds_its_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    def greedy(counts: Sequence[int], room: Room) -> Reserve | Wait | Pass:
        return Reserve(counts[-1])

    monkeypatch.setattr(gangs, "reserve", greedy)
    assert explore(SCENARIOS["two of two nodes on three slots"]).violation is not None


def test_without_the_release_a_promise_that_nobody_takes_costs_a_strike(monkeypatch: pytest.MonkeyPatch) -> None:
    silent = gangs.silent
    monkeypatch.setattr(gangs, "silent", lambda ledger, node, *, taken: silent(ledger, node, taken=True))
    assert explore(SCENARIOS["two of two nodes on two slots"]).violation is not None


@pytest.mark.parametrize(
    ("counts", "total", "free", "decision"),
    [
        ([2], 2, 2, Reserve(2)),
        ([2], 2, 1, Wait()),
        ([2], 1, 1, Pass()),
        ([2, 3, 4], 4, 4, Reserve(4)),
        ([2, 3, 4], 4, 3, Wait()),
        ([2, 4], 3, 2, Reserve(2)),
    ],
)
def test_a_gang_takes_as_many_slots_as_there_are_once_they_are_free(
    counts: list[int], total: int, free: int, decision: Reserve | Wait | Pass
) -> None:
    assert gangs.reserve(counts, Room(total=total, free=free)) == decision
