"""The claim and append protocol keeps its promises in every reachable state, and each of its guards is needed."""

from collections.abc import Sequence

import pytest

from api.jobs import ledger
from cpt_core.events import AnyEvent
from cpt_core.lifecycle import State
from tests.protocol.model import explore


def test_no_interleaving_of_faults_breaks_a_promise() -> None:
    outcome = explore()
    assert outcome.violation is None, outcome.trace
    assert outcome.states > 100_000
    assert outcome.stuck == 0, "from every state the job can still come to an end"
    assert outcome.ends == {State.SUCCEEDED, State.CANCELLED}, "two attempts are too few to fail"


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
