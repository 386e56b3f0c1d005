"""The claim and append protocol keeps its promises in every reachable state, and each of its guards is needed."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from api.jobs import ledger
from cpt_core.events import AnyEvent
from cpt_core.lifecycle import Reason, State
from tests.protocol.model import World, explore


def test_no_interleaving_of_faults_breaks_a_promise() -> None:
    outcome = explore()
    assert outcome.violation is None, outcome.trace
    assert outcome.states > 100_000
    assert outcome.stuck == 0, "from every state the job can still come to an end"
    assert outcome.ends == {State.SUCCEEDED, State.CANCELLED}, "two attempts are too few to fail"


SCENARIOS = {
    "a user who pauses, resumes and cancels": (
        World(wishes=("pause", "cancel"), may_fail=False),
        {State.SUCCEEDED, State.CANCELLED},
    ),
    "deadlines": (World(wishes=(), may_fail=False, may_time_out=True), {State.SUCCEEDED, State.FAILED}),
    "a retry from a checkpoint": (World(base=1, checkpoint=1), {State.SUCCEEDED, State.CANCELLED}),
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_no_promise_is_broken_by(name: str) -> None:
    start, ends = SCENARIOS[name]
    outcome = explore(start)
    assert outcome.violation is None, outcome.trace
    assert outcome.stuck == 0
    assert outcome.ends == ends


def test_without_its_end_a_pause_is_left_over(monkeypatch: pytest.MonkeyPatch) -> None:
    released = ledger._released

    def forgetful(before: ledger.Ledger, reason: Reason, message: str) -> ledger.Ledger:
        return replace(released(before, reason, message), pause=before.pause)

    monkeypatch.setattr(ledger, "_released", forgetful)
    assert explore(World(wishes=("pause",), may_fail=False)).violation is not None


def test_without_the_fence_a_stale_attempt_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "is_stale", lambda _ledger, _attempt: False)
    assert explore().violation is not None


def test_without_the_deduplication_a_repeated_record_is_stored_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    def everything(_ledger: ledger.Ledger, _first: int, records: Sequence[AnyEvent]) -> Sequence[AnyEvent]:
        return records

    monkeypatch.setattr(ledger, "unseen", everything)
    assert explore().violation is not None


def test_without_the_order_a_checkpoint_is_registered_before_its_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "is_gap", lambda _ledger, _first: False)
    assert explore().violation is not None
