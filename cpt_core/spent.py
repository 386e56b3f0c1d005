"""What training has cost so far, counted in steps per bit widths, so that a forecast and a run's sums are equal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from cpt_core.cost import Profile, bit_operations_per_mac
from cpt_core.energy import modelled_joules
from cpt_core.schedules import Run


class Spent:
    """Cumulative cost of the steps that were added."""

    def __init__(self, profile: Profile, batch_size: int) -> None:
        """Start at 0, for a model of this size and `batch_size` samples a step."""
        self._profile, self._batch_size = profile, batch_size
        self._steps_at = Counter[tuple[int, int]]()

    def add(self, forward_bits: int, backward_bits: int) -> None:
        """Count one more step."""
        self._steps_at[forward_bits, backward_bits] += 1

    def add_all(self, runs: Iterable[Run]) -> None:
        """Count all steps of these runs."""
        for run in runs:
            self._steps_at[run.forward_bits, run.backward_bits] += run.stop - run.start

    @property
    def gbitops(self) -> float:
        """GBitOPs."""
        per_mac = sum(count * bit_operations_per_mac(*widths) for widths, count in self._steps_at.items())
        return self._profile.macs * self._batch_size * per_mac / 10**9

    @property
    def modelled_joules(self) -> float:
        """Joules by the per-operation model."""
        # In the order of the widths, not of their coming, since floats are summed.
        return sum(
            self._steps_at[widths] * modelled_joules(self._profile, self._batch_size, *widths)
            for widths in sorted(self._steps_at)
        )
