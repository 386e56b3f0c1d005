from datetime import UTC, datetime, timedelta

import pytest

from cpt_core.events import EnergySource, Log, Started, StepDone
from worker.watchdog import Watchdog

STARTED = Started(
    resume_step=0, steps=9, world_size=1, device="cpu", parameters=1, macs=1, energy=EnergySource(source=None)
)


def step(number, seconds):
    return StepDone(
        step=number, epoch=0, forward_bits=8, backward_bits=8, loss=1, lr=1, samples_per_second=1, gbitops=1,
        modelled_joules=1, time=datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds),
    )  # fmt: skip


class Clock:
    """Looks at the watchdog every second, as the worker does many times a second."""

    def __init__(self):
        self.now = 0.0
        self.dog = Watchdog(0.0, floor=300, steps=20, startup=1800)

    def hung_after(self, seconds, **look):
        until = self.now + seconds
        while self.now < until:
            self.now += 1
            if self.dog.is_hung(self.now, **look):
                return True
        return False

    def saw(self, event):
        self.dog.saw(event, self.now)


@pytest.fixture
def clock():
    return Clock()


def test_starting_may_take_longer_than_a_step(clock):
    assert not clock.hung_after(1800)
    assert clock.hung_after(1)


def test_training_hangs_after_the_floor_when_steps_are_fast(clock):
    clock.saw(STARTED)
    for number in range(10):
        clock.saw(step(number, number * 0.1))
    assert not clock.hung_after(300)
    assert clock.hung_after(1)


def test_slow_steps_get_20_times_their_median(clock):
    clock.saw(STARTED)
    for number in range(10):
        clock.saw(step(number, number * 60))
    assert not clock.hung_after(1200)
    assert clock.hung_after(1)


def test_the_pace_is_the_trainers_not_that_of_the_workers_reading(clock):
    clock.saw(STARTED)
    for number in range(0, 100, 10):
        clock.saw(step(number, number * 40))
    assert clock.dog.limit == 800


def test_any_event_is_progress(clock):
    clock.saw(STARTED)
    for _ in range(10):
        assert not clock.hung_after(299)
        clock.saw(Log(message="evaluating"))


def test_training_that_waits_for_the_worker_does_not_hang(clock):
    clock.saw(STARTED)
    assert not clock.hung_after(10_000, reading=False)
    assert not clock.hung_after(300)
    assert clock.hung_after(2)


def test_time_in_which_the_worker_itself_was_stopped_does_not_count(clock):
    clock.saw(STARTED)
    assert not clock.hung_after(200)
    clock.now += 5000
    assert not clock.hung_after(90)
    assert clock.hung_after(20)
