"""The meter a training run reads once per step."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from cpt_core.energy.counter import Counter, UnavailableError
from cpt_core.energy.nvml import open_nvml
from cpt_core.energy.rapl import POWERCAP, open_rapl
from cpt_core.events import EnergySource


class EnergyMeter:
    """Measured energy since opening, of all the counters together."""

    def __init__(self, source: EnergySource, counters: Sequence[Counter] = ()) -> None:
        self.source = source
        """Where the figure comes from, or why there is none."""
        self._counters = list(counters)

    def joules(self) -> float | None:
        """Joules since the meter was opened; None without a counter, and for good once one stops answering."""
        try:
            readings = [counter.joules() for counter in self._counters]
        except (OSError, ValueError):
            self._counters = []
            return None
        return sum(readings) if readings else None


def open_meter(
    device: Literal["cpu", "cuda"], *, devices: Sequence[int] = (0,), powercap: Path = POWERCAP
) -> EnergyMeter:
    """A meter for what trains: NVML on "cuda", RAPL on "cpu". Never fails; without a counter `source` tells why.

    Args:
        device: kind of device.
        devices: CUDA's numbers of the GPUs to measure; not used on a CPU, whose counters are the machine's.
        powercap: root of Linux's powercap tree.
    """
    try:
        if device == "cuda":
            scope, counters = open_nvml(devices)
            return EnergyMeter(EnergySource(source="nvml", scope=scope), counters)
        scope, counters = open_rapl(powercap)
        return EnergyMeter(EnergySource(source="rapl", scope=scope), counters)
    except UnavailableError as unavailable:
        return EnergyMeter(EnergySource(source=None, reason=str(unavailable)))
