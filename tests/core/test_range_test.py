"""The decisions of the precision range test, on curves made by hand."""

import pytest

from cpt_core.range_test import Bounds, PrecisionGain, curve, find_bounds


def points(*first_and_last):
    """A curve from 2 bits up."""
    return [PrecisionGain(bits=bits, first=a, last=b) for bits, (a, b) in enumerate(first_and_last, start=2)]


TYPICAL = points((0.1, 0.11), (0.1, 0.3), (0.12, 0.47), (0.1, 0.52), (0.1, 0.51), (0.1, 0.5))


def test_a_point_of_the_curve_has_the_first_step_at_its_bits_and_the_mean_of_the_last_ones():
    scores = [*(0.0, 0.2, 0.9, 0.4, 0.6), *(0.1, 0.3, 0.9, 0.9, 1.0)]
    assert curve(scores, min_bits=3, steps_per_bits=5, window=2) == [
        PrecisionGain(bits=3, first=0.0, last=0.5),
        PrecisionGain(bits=4, first=0.1, last=0.95),
    ]


@pytest.mark.parametrize(("threshold", "min_bits"), [(0.01, 2), (0.3, 3), (0.5, 4), (0.95, 5)])
def test_b_min_is_the_first_width_that_gains_a_part_of_what_the_highest_gains(threshold, min_bits):
    found = find_bounds(TYPICAL, threshold=threshold, tolerance=0.05)
    assert found is not None
    assert found.min_bits == min_bits


@pytest.mark.parametrize(("tolerance", "max_bits"), [(0, 5), (0.05, 5), (0.1, 4), (0.5, 3)])
def test_b_max_is_the_first_width_that_trains_as_well_as_the_highest(tolerance, max_bits):
    assert find_bounds(TYPICAL, threshold=0.3, tolerance=tolerance) == Bounds(min_bits=3, max_bits=max_bits)


def test_b_max_is_never_below_b_min():
    found = find_bounds(points((0.1, 0.2), (0.1, 0.5), (0.1, 0.5)), threshold=0.9, tolerance=0.9)
    assert found == Bounds(min_bits=3, max_bits=3)


def test_gains_are_counted_from_one_beginning_whatever_the_first_step_at_a_width_showed():
    # All begin at the same weights, so these first steps differ by chance.
    found = find_bounds(points((0.0, 0.35), (0.2, 0.45), (0.1, 0.5)), threshold=0.8, tolerance=0)
    assert found == Bounds(min_bits=3, max_bits=4)


def test_where_nothing_learns_there_are_no_bounds():
    assert find_bounds(points((0.1, 0.13), (0.1, 0.115)), threshold=0.5, tolerance=0.05) is None
