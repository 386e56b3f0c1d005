"""The precision range test (Fu et al. 2021, section 3.3): which bit widths to cycle between.

Every bit width from the lowest to the highest trains the same steps from the same initial weights on the same batches,
and its score is watched: training accuracy, for language models exp(-loss), the inverse of perplexity. B_min is the
lowest width that gains nearly what the highest gains, B_max the lowest that ends where the highest does.

The paper raises the precision within one training and publishes neither threshold nor code. Here each width starts
anew, so that what it gains is its own and not what the widths before it had left to learn, and thresholds are shares of
what the highest width attains, so that they suit 10 classes and 100.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

LEAST_RISE = 1.2
"""How many times its beginning the score of the highest width must reach for the test to say anything."""

Score = Annotated[float, Field(ge=0, le=1)]


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

    scores: list[Score] = []
    """Score of every step of the test so far; empty once it is over."""
    bounds: Bounds | None = None
    """What it found; null until it is over."""


class PrecisionGain(BaseModel):
    """How training went at one bit width."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    bits: Annotated[int, Field(ge=2, le=16)]
    """Bit width of weights and activations."""
    first: Score
    """Score of the first step, before any update."""
    last: Score
    """Mean score of the last `window` steps."""

    @property
    def gain(self) -> float:
        """What training gained, last - first."""
        return self.last - self.first


def curve(scores: Sequence[float], *, min_bits: int, steps_per_bits: int, window: int) -> list[PrecisionGain]:
    """How training went at each bit width.

    Args:
        scores: of every step of the test, `steps_per_bits` for each width from `min_bits` up.
        min_bits: the lowest width.
        steps_per_bits: steps at each width.
        window: consecutive steps over which scores are averaged.
    """
    begins = range(0, len(scores), steps_per_bits)
    parts = [scores[begin : begin + steps_per_bits] for begin in begins]
    return [
        PrecisionGain(bits=bits, first=part[0], last=statistics.fmean(part[-window:]))
        for bits, part in enumerate(parts, start=min_bits)
    ]


def find_bounds(curve: Sequence[PrecisionGain], *, threshold: float, tolerance: float) -> Bounds | None:
    """The bounds that the curve shows, or None if even the highest bit width hardly learns (`LEAST_RISE`).

    All widths begin at the same weights and batch, so gains are counted from the mean of where they begin.

    Args:
        curve: one point for each width, ascending.
        threshold: B_min is the first width that gains at least this part of what the highest gains, 0 to below 1.
        tolerance: B_max is the first width from B_min on whose last score is at most this part below the highest
            width's.
    """
    start, highest = statistics.fmean(point.first for point in curve), curve[-1]
    if highest.last <= LEAST_RISE * start:
        return None
    enough = start + threshold * (highest.last - start)
    min_bits = next(point.bits for point in curve if point.last >= enough)
    max_bits = next(
        point.bits for point in curve if point.bits >= min_bits and point.last >= (1 - tolerance) * highest.last
    )
    return Bounds(min_bits=min_bits, max_bits=max_bits)
