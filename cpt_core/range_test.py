"""The precision range test (Fu et al. 2021, section 3.3): which bit widths to cycle between.

Every bit width from the lowest to the highest trains the same few steps from the same initial weights on the same
batches, and its training accuracy is watched, averaged over several consecutive steps. B_min is the lowest that learns:
its accuracy gains more than a threshold. B_max is the lowest that trains as well as the highest does.

The paper raises the precision within one training and publishes neither threshold nor code. Here each width starts
anew, so that what it gains is its own and not what the widths before it had left to learn, and thresholds are shares of
what the highest width attains, so that they suit 10 classes and 100.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

LEAST_GAIN = 0.01
"""Accuracy that the highest width must gain for the test to say anything: less is noise."""

Accuracy = Annotated[float, Field(ge=0, le=1)]


class Bounds(BaseModel):
    """What a precision range test finds."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    min_bits: Annotated[int, Field(ge=2, le=16)]
    """B_min."""
    max_bits: Annotated[int, Field(ge=2, le=16)]
    """B_max."""


class Progress(BaseModel):
    """How far a test has come: what a training must know of it to go on."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    accuracies: list[Accuracy] = []
    """Training accuracy of every step of the test so far; empty once it is over."""
    bounds: Bounds | None = None
    """What it found; null until it is over."""


class PrecisionGain(BaseModel):
    """How training went at one bit width."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    bits: Annotated[int, Field(ge=2, le=16)]
    """Bit width of weights and activations."""
    first: Accuracy
    """Mean training accuracy over the first `window` steps."""
    last: Accuracy
    """Mean training accuracy over the last `window` steps."""

    @property
    def gain(self) -> float:
        """What training gained, last - first."""
        return self.last - self.first


def curve(accuracies: Sequence[float], *, min_bits: int, steps_per_bits: int, window: int) -> list[PrecisionGain]:
    """How training went at each bit width.

    Args:
        accuracies: training accuracy of every step of the test, `steps_per_bits` for each width from `min_bits` up.
        min_bits: the lowest width.
        steps_per_bits: steps at each width.
        window: consecutive steps over which accuracies are averaged.
    """
    begins = range(0, len(accuracies), steps_per_bits)
    parts = [accuracies[begin : begin + steps_per_bits] for begin in begins]
    return [
        PrecisionGain(bits=bits, first=statistics.fmean(part[:window]), last=statistics.fmean(part[-window:]))
        for bits, part in enumerate(parts, start=min_bits)
    ]


def find_bounds(curve: Sequence[PrecisionGain], *, threshold: float, tolerance: float) -> Bounds | None:
    """The bounds that the curve shows, or None if even the highest bit width gains less than `LEAST_GAIN`.

    Args:
        curve: one point for each width, ascending.
        threshold: B_min is the first width that gains more than this part of what the highest gains, 0 to below 1.
        tolerance: B_max is the first width from B_min on whose last accuracy is at most this part below the highest
            width's.
    """
    highest = curve[-1]
    if highest.gain < LEAST_GAIN:
        return None
    min_bits = next(point.bits for point in curve if point.gain > threshold * highest.gain)
    max_bits = next(
        point.bits for point in curve if point.bits >= min_bits and point.last >= (1 - tolerance) * highest.last
    )
    return Bounds(min_bits=min_bits, max_bits=max_bits)
