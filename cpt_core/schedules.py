"""Precision schedules: the bit width as a pure function of the step.

`cosine` is Cyclic Precision Training (Fu et al., ICLR 2021, arXiv 2101.09868); the ten two- and three-letter names are
those of Wolfe & Kyrillidis (arXiv 2403.02243): a growth profile (Linear, Cosine, REX, Exponential) that is Repeated in
each cycle or runs in Triangular legs, decay first, where the decay mirrors the growth Vertically or Horizontally.

Because nothing but the step goes in, every rank, a resumed attempt and the cost forecast agree without talking.
"""

from __future__ import annotations

import itertools
import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

CyclicName = Literal["cosine", "LR", "LT", "CR", "CT", "RR", "RTV", "RTH", "ER", "ETV", "ETH"]
Period = Literal["floor", "floor+1"]


@dataclass(frozen=True, slots=True)
class Schedule:
    """Bit widths of `steps` training steps, `bits(0)` to `bits(steps - 1)`."""

    name: str
    steps: int
    profile: Callable[[int], float]
    """Unrounded bit width at a step."""
    turn: Callable[[int], int]
    """The step after a stretch with this step in it, within which the bit width only rises, or only falls."""

    def bits(self, step: int) -> int:
        """Bit width at `step` (0-based). Ties round to even, as in the authors' code.

        Raises:
            IndexError: the step is outside the schedule.
        """
        if not 0 <= step < self.steps:
            raise IndexError(f"step {step} is outside the schedule's {self.steps} steps")
        return round(self.profile(step))

    def next_change(self, step: int, stop: int) -> int:
        """The first step after `step` with another bit width, or `stop`, found in few of the steps between."""
        bits = self.bits(step)
        while step < stop:
            turn = min(self.turn(step), stop)
            if self.bits(turn - 1) != bits:
                return bisect_left(range(turn), True, lo=step, key=lambda later: self.bits(later) != bits)
            if turn < stop and self.bits(turn) != bits:
                return turn
            step = turn
        return stop

    def all(self) -> npt.NDArray[np.int64]:
        """Bit widths of all steps, shape (steps,)."""
        import numpy as np

        return np.fromiter((round(self.profile(step)) for step in range(self.steps)), dtype=np.int64, count=self.steps)


def make(
    name: str, *, steps: int, cycles: int = 1, min_bits: int = 8, max_bits: int = 8, period: Period = "floor"
) -> Schedule:
    """The named schedule over `steps` steps.

    Args:
        name: `static` (always `max_bits`), `cosine`, or one of LR LT CR CT RR RTV RTH ER ETV ETH.
        steps: training steps in all.
        cycles: cycles in all, N. Steps left over start one more cycle.
        min_bits: where a cosine cycle starts, B_min. May be above `max_bits`: then each cycle descends.
        max_bits: B_max.
        period: steps of a cycle: "floor" int(steps / cycles), or "floor+1" one more.

    Raises:
        ValueError: an unknown name or period, or cycles that do not fit in the steps.
    """
    if name not in SCHEDULES:
        raise ValueError(f"unknown schedule {name!r}: use one of {', '.join(SCHEDULES)}")
    if period not in get_args(Period):
        raise ValueError(f"unknown period {period!r}: use 'floor' or 'floor+1'")
    if steps < 1 or cycles < 1:
        raise ValueError(f"steps ({steps}) and cycles ({cycles}) must be at least 1")
    if name == "static":
        return Schedule(name, steps, lambda _step: float(max_bits), lambda _step: steps)
    if cycles > steps:
        raise ValueError(f"{cycles} cycles do not fit in {steps} steps: a cycle needs at least one step")
    length = int(steps / cycles) + (period == "floor+1")
    leg = SCHEDULES[name]

    def profile(step: int) -> float:
        return leg(step, length, float(min_bits), float(max_bits))

    return Schedule(name, steps, profile, lambda step: min(steps, (step // length + 1) * length))


def piecewise(pieces: Sequence[tuple[int, int]], *, steps: int) -> Schedule:
    """The schedule of (first step, bit width) pieces, each until the next one begins.

    Raises:
        ValueError: there are no steps, or the first steps of the pieces do not ascend strictly from 0.
    """
    begins = [begin for begin, _bits in pieces]
    if steps < 1:
        raise ValueError(f"steps ({steps}) must be at least 1")
    if begins[:1] != [0] or any(later <= earlier for earlier, later in itertools.pairwise(begins)):
        raise ValueError(f"the pieces must begin at step 0 and then at ascending steps, not at {begins}")
    return Schedule(
        "piecewise",
        steps,
        lambda step: float(pieces[bisect_right(begins, step) - 1][1]),
        lambda step: min(steps, [*begins, steps][bisect_right(begins, step)]),
    )


class Run(NamedTuple):
    """Consecutive steps of the same bit widths."""

    start: int
    """The first of them."""
    stop: int
    """The step after the last of them."""
    forward_bits: int
    """Bit width of weights and activations."""
    backward_bits: int
    """Bit width of the errors."""


def runs(forward: Schedule, backward: Schedule, steps: int) -> Iterator[Run]:
    """The first `steps` steps, those of the same bit widths together: a handful for each cycle, however long it is."""
    step = 0
    while step < steps:
        stop = backward.next_change(step, forward.next_change(step, steps))
        yield Run(step, stop, forward.bits(step), backward.bits(step))
        step = stop


Leg = Callable[[int, int, float, float], float]
"""(step, cycle length, low, high) -> unrounded bits."""
Growth = Callable[[float], float]
"""Position in the cycle, [0, 1) -> progress from low to high, 0 to 1."""


def _cpt_cosine(step: int, length: int, low: float, high: float) -> float:
    # The authors' form. The algebraically equal 1 - cos differs at exact ties, so it is not simplified.
    return low + 0.5 * (high - low) * (1 + math.cos(math.pi * ((step % length) / length) + math.pi))


def _linear(z: float) -> float:
    return z


def _cosine(z: float) -> float:
    return (1 - math.cos(math.pi * z)) / 2


def _rex(z: float) -> float:
    return 1 - (1 - z) / (0.1 + 0.9 * (1 - z))


def _exponential(z: float) -> float:
    return 1 - math.exp(-4 * z)


def _repeated(growth: Growth) -> Leg:
    def leg(step: int, length: int, low: float, high: float) -> float:
        return low + (high - low) * growth((step % length) / length)

    return leg


def _triangular(growth: Growth, mirror: Literal["vertical", "horizontal"]) -> Leg:
    def leg(step: int, length: int, low: float, high: float) -> float:
        cycle, z = step // length, (step % length) / length
        if cycle % 2:
            return low + (high - low) * growth(z)
        if mirror == "vertical":
            return high - (high - low) * growth(z)
        return low + (high - low) * growth(1 - z)

    return leg


def _static(_step: int, _length: int, _low: float, high: float) -> float:
    return high


SCHEDULES: dict[str, Leg] = {
    "cosine": _cpt_cosine,
    "static": _static,
    "LR": _repeated(_linear),
    "LT": _triangular(_linear, "vertical"),
    "CR": _repeated(_cosine),
    "CT": _triangular(_cosine, "vertical"),
    "RR": _repeated(_rex),
    "RTV": _triangular(_rex, "vertical"),
    "RTH": _triangular(_rex, "horizontal"),
    "ER": _repeated(_exponential),
    "ETV": _triangular(_exponential, "vertical"),
    "ETH": _triangular(_exponential, "horizontal"),
}
