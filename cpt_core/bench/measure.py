"""Paired timings: the forms of a training step take turns, so that a busy moment of the machine meets all of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

import torch
from pydantic import BaseModel, ConfigDict

from cpt_core.bench.forms import BASE, FORMS, NAIVE
from cpt_core.bench.machine import Machine, finish
from cpt_core.bench.saved import saved_bytes
from cpt_core.bench.workloads import Step, Workload
from cpt_core.train.graphs import GraphedForward


class Timing(BaseModel):
    """What the steps of one form took."""

    model_config = ConfigDict(frozen=True)

    form: str
    seconds: float
    """Median of a step."""
    ratio: float
    """Median over the rounds of its time divided by that of `BASE` in the same round."""
    spread: float
    """Interquartile range of those ratios."""
    over_naive: float | None
    """Median over the rounds of the naive form's time divided by its own; null where that was not timed."""
    saved_bytes: int
    """What autograd keeps for the backward pass, without the parameters."""
    saved_ratio: float
    """That, divided by what `BASE` keeps."""
    moved_bytes: int
    """What a step moves to and from memory at least: weights, gradients, optimiser state and what autograd keeps, each
    written once and read once."""
    memory_seconds: float
    """The time that this takes at the machine's bandwidth."""
    times_floor: float
    """`seconds` divided by the longer one of `memory_seconds` and the products' time at the machine's fp32 peak. Forms
    that multiply narrower numbers than fp32 can be below 1."""


class Benchmark(BaseModel):
    """The forms of a workload's step, side by side."""

    model_config = ConfigDict(frozen=True)

    workload: str
    """Its title."""
    machine: Machine
    rounds: int
    macs: int
    """Multiply-accumulates of a step's products with weights."""
    arithmetic_seconds: float
    """The time that they take at the machine's fp32 peak."""
    timings: list[Timing]
    """By form, `BASE` first."""


def measure(
    workload: Workload, wanted: Sequence[str], machine: Machine, *, rounds: int, seed: int = 0, device: str = "cpu"
) -> Benchmark:
    """Time the forms in turns, `BASE` always among them, after two steps of each that do not count.

    Args:
        workload: what is trained.
        wanted: names out of `forms.available(device)`.
        machine: this one.
        rounds: turns, at least 2.
        seed: of the weights and the data.
        device: kind of device that takes the steps, "cpu" or "cuda".
    """
    names = [BASE, *(name for name in wanted if name != BASE)]
    taken = {name: Taken(workload, name, seed, device) for name in names}
    for _ in range(rounds):
        for form in taken.values():
            form.time()
    macs = workload.macs()
    arithmetic = macs / machine.fp32_macs
    timings = []
    for name, form in taken.items():
        moved = 2 * (form.step.state_bytes() + form.saved)
        memory, seconds = moved / machine.bandwidth, statistics.median(form.seconds)
        ratios = form.over(taken[BASE])
        low, _median, high = statistics.quantiles(ratios, n=4)
        timings.append(
            Timing(
                form=name,
                seconds=seconds,
                ratio=statistics.median(ratios),
                spread=high - low,
                over_naive=statistics.median(taken[NAIVE].over(form)) if NAIVE in taken else None,
                saved_bytes=form.saved,
                saved_ratio=form.saved / taken[BASE].saved,
                moved_bytes=moved,
                memory_seconds=memory,
                times_floor=seconds / max(memory, arithmetic),
            )
        )
    return Benchmark(
        workload=workload.title,
        machine=machine,
        rounds=rounds,
        macs=macs,
        arithmetic_seconds=arithmetic,
        timings=timings,
    )


class Taken:
    """The steps that one form has taken."""

    def __init__(self, workload: Workload, name: str, seed: int, device: str) -> None:
        """Take one that does not count; `name` is the form's."""
        form = FORMS[name]
        torch.manual_seed(seed)
        model = workload.build().to(device)
        form.prepare(model)
        with torch.device(device):
            self.step: Step = workload.step(model)
        self._form, self._device, self.seconds = form, device, list[float]()
        with form.within(device):
            self.step()  # what is made once: the optimiser's state, a compiled graph
            self.saved = saved_bytes(self.step, self.step.parameters())
            if device == "cuda" and form.graphed:
                GraphedForward(model, mode=lambda: None)
                self.step()

    def time(self) -> None:
        """Take one more step, to its end."""
        with self._form.within(self._device):
            finish(self._device)
            began = time.perf_counter()
            self.step()
            finish(self._device)
            self.seconds.append(time.perf_counter() - began)

    def over(self, other: Taken) -> list[float]:
        """Its times divided by the other's in the same rounds."""
        return [mine / theirs for mine, theirs in zip(self.seconds, other.seconds, strict=True)]
