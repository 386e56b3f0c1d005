"""The energy of a training step, over a window that is long beside how seldom a hardware counter moves."""

from __future__ import annotations

import time
from collections.abc import Sequence

from cpt_core.bench.measure import Taken
from cpt_core.bench.workloads import Workload
from cpt_core.energy import EnergyMeter

SECONDS = 2.0
"""Length of a window. NVML's counters move every 20 to 100 ms."""


def measure_joules(
    workload: Workload,
    wanted: Sequence[str],
    meter: EnergyMeter,
    *,
    seconds: float = SECONDS,
    seed: int = 0,
    device: str = "cpu",
) -> dict[str, float | None]:
    """Joules of one step of each form, of all that the meter's counters cover; None where they cannot be read.

    Args:
        workload: what is trained.
        wanted: names of forms.
        meter: an open one.
        seconds: for at least how long steps are taken between two readings; one step in any case.
        seed: of the weights and the data.
        device: kind of device that takes the steps, "cpu" or "cuda".
    """
    return {name: _joules(Taken(workload, name, seed, device), meter, seconds) for name in wanted}


def _joules(form: Taken, meter: EnergyMeter, seconds: float) -> float | None:
    form.time()  # does not count: kernels and clocks warm up
    before, began, steps = meter.joules(), time.perf_counter(), 0
    while steps == 0 or time.perf_counter() - began < seconds:
        form.time()
        steps += 1
    after = meter.joules()
    return None if before is None or after is None else (after - before) / steps
