"""The precision schedules against the reference, step by step."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from cpt_core.schedules import SCHEDULES, make, piecewise, runs
from cpt_core.spec import JobSpec
from tests.core import golden

CPT_CASES = {
    "00": (64000, 32, 3, 8),
    "02": (64000, 32, 3, 6),
    "08": (60, 4, 3, 8),
    "09": (100, 3, 3, 8),
    "12": (7, 2, 3, 8),
    "13": (101, 10, 3, 6),
    "19": (120, 10, 2, 7),
    "21": (64, 4, 8, 3),
}
GRADIENT_CASES = {"13": (101, 10, 4, 7), "19": (120, 10, 3, 6)}
NAMED = sorted(key for key in golden.load("schedule") if key.startswith("named/"))


@pytest.mark.parametrize("case", CPT_CASES)
def test_cosine_equals_the_authors_schedule(case):
    steps, cycles, min_bits, max_bits = CPT_CASES[case]
    schedule = make("cosine", steps=steps, cycles=cycles, min_bits=min_bits, max_bits=max_bits)
    assert np.array_equal(schedule.all(), golden.load("schedule")[f"cpt/{case}/bits"])


@pytest.mark.parametrize("case", GRADIENT_CASES)
def test_gradient_bits_that_cycle_equal_the_authors(case):
    steps, cycles, min_bits, max_bits = GRADIENT_CASES[case]
    cycle = {"schedule": "cosine", "cycles": cycles, "min_bits": min_bits, "max_bits": max_bits}
    document = {"model": {"name": "resnet8"}, "dataset": {"name": "digits"}, "training": {"steps": steps}}
    spec = JobSpec.model_validate(document | {"precision": {"schedule": "static", "gradient_bits": cycle}})
    expected = golden.load("schedule")[f"cpt/{case}/grad_bits"]
    assert np.array_equal(spec.precision.backward_schedule(steps).all(), expected)


@pytest.mark.parametrize("key", NAMED)
def test_the_ten_named_schedules_equal_the_follow_up(key):
    _, _, period, name, _ = key.split("/")
    expected = golden.load("schedule")[key]
    low, high = int(expected.min()), int(expected.max())
    schedule = make(
        name,
        steps=len(expected),
        cycles=8,
        min_bits=low,
        max_bits=high,
        period="floor+1" if period == "plus1" else "floor",
    )
    assert np.array_equal(schedule.all(), expected)


@pytest.mark.parametrize(
    ("name", "mean_bits"),
    [("RR", 3.81), ("RTH", 3.81), ("LR", 5.5), ("LT", 5.5), ("CR", 5.5), ("CT", 5.5), ("ER", 6.83), ("ETH", 6.83)],
)
def test_mean_bits_are_the_published_ones(name, mean_bits):
    schedule = make(name, steps=64000, cycles=8, min_bits=3, max_bits=8)
    assert schedule.all().mean() == pytest.approx(mean_bits, abs=0.006)


@pytest.mark.parametrize("name", SCHEDULES)
def test_one_step_is_what_all_steps_say(name):
    schedule = make(name, steps=37, cycles=3, min_bits=3, max_bits=8)
    assert [schedule.bits(step) for step in range(37)] == schedule.all().tolist()
    assert all(3 <= bits <= 8 for bits in schedule.all())


def test_each_cosine_cycle_restarts_at_the_lowest_bits_and_left_over_steps_start_one_more():
    bits = make("cosine", steps=100, cycles=3, min_bits=3, max_bits=8).all()
    assert bits[[0, 33, 66, 99]].tolist() == [3, 3, 3, 3]


def test_a_tie_rounds_to_even():
    assert make("cosine", steps=2, cycles=1, min_bits=3, max_bits=6).bits(1) == 4


def test_static_is_always_the_highest_bits():
    assert set(make("static", steps=5, max_bits=6).all()) == {6}


def test_pieces_hold_until_the_next_one_begins():
    assert piecewise([(0, 8), (2, 3), (3, 32)], steps=5).all().tolist() == [8, 8, 3, 32, 32]


@pytest.mark.parametrize("pieces", [[], [(1, 8)], [(0, 8), (0, 4)], [(0, 8), (3, 4), (2, 6)]])
def test_pieces_that_do_not_ascend_from_0_are_refused(pieces):
    with pytest.raises(ValueError, match="must begin at step 0"):
        piecewise(pieces, steps=5)


@pytest.mark.parametrize("step", [-1, 10])
def test_a_step_outside_the_schedule_is_an_error(step):
    with pytest.raises(IndexError, match="outside"):
        make("cosine", steps=10, cycles=2, min_bits=3, max_bits=8).bits(step)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "sawtooth", "steps": 10}, "unknown schedule 'sawtooth'"),
        ({"name": "cosine", "steps": 10, "cycles": 11}, "11 cycles do not fit in 10 steps"),
        ({"name": "cosine", "steps": 0}, "at least 1"),
        ({"name": "cosine", "steps": 10, "cycles": 0}, "at least 1"),
        ({"name": "cosine", "steps": 10, "period": "ceil"}, "unknown period 'ceil'"),
    ],
)
def test_what_makes_no_schedule_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)


RUNS = {
    **{name: {"schedule": name, "min_bits": 3, "max_bits": 8, "cycles": 7} for name in SCHEDULES if name != "static"},
    "static": {"schedule": "static"},
    "cycles as short as steps": {"schedule": "cosine", "cycles": 500},
    "into full precision": {"schedule": "CT", "min_bits": 8, "max_bits": 32, "cycles": 3},
    "errors that cycle too": {
        "schedule": "cosine",
        "min_bits": 6,
        "max_bits": 32,
        "cycles": 5,
        "gradient_bits": {"schedule": "ETH", "cycles": 4, "period": "floor+1"},
    },
    "pieces": {"schedule": "piecewise", "pieces": [{"from_step": 0, "bits": 32}, {"from_step": 31, "bits": 6}]},
    "a range test, then cycles": {"schedule": "auto", "steps_per_bits": 11, "cycles": 3},
}


@pytest.mark.parametrize("precision", RUNS.values(), ids=RUNS.keys())
def test_runs_are_the_schedules_step_by_step(precision):
    document = {"model": {"name": "resnet8"}, "dataset": {"name": "digits"}, "training": {"steps": 500}}
    spec = JobSpec.model_validate(document | {"precision": precision})
    forward, backward = spec.precision.forward_schedule(500), spec.precision.backward_schedule(500)
    found = list(runs(forward, backward, 500))
    assert [step for run in found for step in range(run.start, run.stop)] == list(range(500))
    assert [run.forward_bits for run in found for _ in range(run.start, run.stop)] == forward.all().tolist()
    assert [run.backward_bits for run in found for _ in range(run.start, run.stop)] == backward.all().tolist()
    widths = [run[2:] for run in found]
    assert all(one != other for one, other in itertools.pairwise(widths)) or forward.name == "auto"


def test_the_runs_of_a_long_training_are_found_without_walking_its_steps():
    asked = []
    schedule = make("cosine", steps=10_000_000, cycles=32, min_bits=3, max_bits=8)
    counting = replace(schedule, profile=lambda step: asked.append(step) or schedule.profile(step))
    assert len(list(runs(counting, make("static", steps=10_000_000), 10_000_000))) == 32 * 6
    assert len(asked) < 20_000
