"""What training has cost so far, counted in steps per bit width, so that a forecast and a run's sums are equal."""

from __future__ import annotations

from collections import Counter

from cpt_core.cost import Profile, bit_operations_per_mac
from cpt_core.energy import modelled_joules
from cpt_core.schedules import Schedule


class Spent:
    """Cumulative cost of the steps that were added."""

    def __init__(self, profile: Profile, batch_size: int, backward_bits: int) -> None:
        """Start at 0, for a model of this size, `batch_size` samples a step and errors of `backward_bits` bits."""
        self._profile, self._batch_size, self._backward_bits = profile, batch_size, backward_bits
        self._steps_at = Counter[int]()

    def add(self, forward_bits: int) -> None:
        """Count one more step."""
        self._steps_at[forward_bits] += 1

    def add_all(self, schedule: Schedule, steps: int) -> None:
        """Count the first `steps` steps of a schedule."""
        self._steps_at.update(schedule.bits(step) for step in range(steps))

    @property
    def gbitops(self) -> float:
        """GBitOPs."""
        per_mac = sum(
            count * bit_operations_per_mac(bits, self._backward_bits) for bits, count in self._steps_at.items()
        )
        return self._profile.macs * self._batch_size * per_mac / 10**9

    @property
    def modelled_joules(self) -> float:
        """Joules by the per-operation model."""
        # In the order of the widths, not of their coming, since floats are summed.
        return sum(
            self._steps_at[bits] * modelled_joules(self._profile, self._batch_size, bits, self._backward_bits)
            for bits in sorted(self._steps_at)
        )
