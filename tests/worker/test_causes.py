import pytest

from worker.causes import AT_ONCE, Cause, measure

GRACE = 10.0


def at(now, causes, *, told=None, going=0.0):
    return measure(set(causes), now=now, told=told, going=going, grace=GRACE)


def test_without_a_cause_nothing_is_done():
    assert at(1000, []) == "none"


@pytest.mark.parametrize("cause", [Cause.CANCEL, Cause.PAUSE, Cause.GO])
def test_a_wish_is_told_once_and_enforced_after_the_grace(cause):
    going = 100.0 if cause is Cause.GO else 0.0
    assert at(100, [cause], going=going) == "term"
    assert at(100 + 0.7 * GRACE, [cause], told=100, going=going) == "none"
    assert at(100 + GRACE, [cause], told=100, going=going) == "kill"


@pytest.mark.parametrize("cause", sorted(AT_ONCE, key=lambda cause: cause.name))
@pytest.mark.parametrize("told", [None, 99.9])
def test_what_cannot_wait_is_killed_at_once(cause, told):
    assert at(100, [Cause.CANCEL, cause], told=told) == "kill"


def test_a_worker_that_must_go_keeps_a_part_of_the_grace_for_the_last_records():
    assert at(100 + 0.8 * GRACE, [Cause.GO], told=100, going=100) == "kill"


def test_a_worker_that_must_go_shortens_the_grace_of_an_earlier_wish():
    assert at(102, [Cause.CANCEL, Cause.GO], told=101, going=100) == "none"
    assert at(108, [Cause.CANCEL, Cause.GO], told=101, going=100) == "kill"
