import pytest

from worker.timing import backoff, timing


def test_the_blind_limit_is_two_thirds_of_the_lease():
    assert timing(30, interval=0.25).blind == 20


@pytest.mark.parametrize("asked", [29.9, 30, 500])
def test_the_blind_limit_never_reaches_the_lease(asked):
    assert timing(30, interval=0.25, blind=asked).blind < 30


def test_a_blind_limit_within_the_lease_is_kept():
    assert timing(30, interval=0.25, blind=5).blind == 5


@pytest.mark.parametrize("lease", [1, 3, 30, 3600])
@pytest.mark.parametrize("interval", [0.01, 0.25, 10])
def test_two_requests_may_time_out_and_a_third_still_proves_life_within_the_lease(lease, interval):
    periods = timing(lease, interval=interval)
    assert periods.interval <= periods.heartbeat <= lease / 6
    assert periods.heartbeat + periods.request <= periods.blind + 1e-9 < lease


def test_a_wish_to_cancel_does_not_wait_for_a_long_lease():
    assert timing(3600, interval=0.25).heartbeat == 2


def test_failures_are_repeated_ever_more_slowly_but_at_least_every_5_seconds():
    assert all(backoff(1) <= 0.5 for _ in range(100))
    assert all(2.5 <= backoff(50) <= 5 for _ in range(100))
