"""What a run has spent so far: bit operations, energy, time and memory."""

from __future__ import annotations

import statistics
import time
from array import array
from typing import Any, Literal

import torch

from cpt_core import cost, energy
from cpt_core.carbon import footprint
from cpt_core.cost import Profile
from cpt_core.events import EnergySource
from cpt_core.run import Run
from cpt_core.spent import Spent
from cpt_core.train import memory
from cpt_core.train.ranks import Ranks


class Account:
    """Counts what a run spends, as fields of its events. Cost is the job's, what is measured this attempt's."""

    def __init__(self, run: Run, ranks: Ranks, profile: Profile, spent: Spent) -> None:
        """Go on from `spent`, what the attempts before have spent, for a model of this size."""
        self._spec, self._grid, self._ranks = run.spec, run.grid_gco2e_per_kwh, ranks
        self._profile, self._spent = profile, spent
        self._rates = array("d")
        kind: Literal["cpu", "cuda"] = "cuda" if ranks.device.type == "cuda" else "cpu"
        if ranks.world_size > ranks.local_world_size:
            self._meter = energy.EnergyMeter(
                EnergySource(source=None, reason="one node sees the counters of one alone")
            )
        else:
            self._meter = energy.open_meter(kind, devices=range(ranks.world_size))
        self._began, self._joules = time.perf_counter(), self._meter.joules()

    @property
    def energy_source(self) -> EnergySource:
        """Where measured energy comes from."""
        return self._meter.source

    def begin_step(self) -> None:
        """What is spent from here on, until the step ends, is the step's."""
        self._joules, self._began = self._meter.joules(), time.perf_counter()

    def end_step(self, forward_bits: int, backward_bits: int) -> dict[str, Any]:
        """Count the step that has ended. Returns what `StepDone` says of cost, energy and speed."""
        samples = self._spec.samples_per_step
        self._spent.add(forward_bits, backward_bits)
        self._rates.append(samples / (time.perf_counter() - self._began))
        before, joules = self._joules, self._meter.joules()
        return {
            "samples_per_second": self._rates[-1],
            "gbitops": self._spent.gbitops,
            "modelled_joules": self._spent.modelled_joules,
            "energy_joules": joules,
            "step_gbitops": cost.step_gbitops(self._profile.macs, samples, forward_bits, backward_bits),
            "step_modelled_joules": energy.modelled_joules(self._profile, samples, forward_bits, backward_bits),
            "step_energy_joules": None if joules is None or before is None else joules - before,
        }

    def total(self) -> dict[str, Any]:
        """What `Result` says of cost, energy, speed and memory. All ranks must call it together."""
        spec, device = self._spec, self._ranks.device
        samples, precision = spec.steps * spec.samples_per_step, spec.precision
        spent = cost.compare(
            self._spent.gbitops, self._profile.macs, samples, precision.max_bits, precision.max_gradient_bits
        )
        modelled, measured = self._spent.modelled_joules, self._meter.joules()
        of_model, of_meter = footprint(modelled, self._grid), footprint(measured, self._grid)
        peaks = self._ranks.gather(torch.tensor(memory.peak(device), device=device))
        return {
            "samples": samples,
            "gbitops": spent.gbitops,
            "gbitops_static": spent.gbitops_static,
            "gbitops_fp32": spent.gbitops_fp32,
            "modelled_joules": modelled,
            "energy_joules": measured,
            "grid_gco2e_per_kwh": self._grid,
            "modelled_kwh": of_model.kwh,
            "modelled_gco2e": of_model.gco2e,
            "energy_kwh": of_meter.kwh,
            "energy_gco2e": of_meter.gco2e,
            "samples_per_second": statistics.median(self._rates) if self._rates else 0.0,
            "peak_memory": max(map(int, peaks)),
        }
