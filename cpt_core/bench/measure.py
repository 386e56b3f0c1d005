"""Paired timings: the forms of a training step take turns, so that a busy moment of the machine meets all of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

import torch
from pydantic import BaseModel, ConfigDict

from cpt_core.bench.naive import BACKWARD_BITS, FORWARD_BITS, quantize_naively
from cpt_core.bench.workloads import Step, Workload
from cpt_core.quant import native, quantize_model

BASE = "fp32"
"""The form that the others are compared with."""


def _fp32(workload: Workload) -> Step:
    return workload.step(workload.build())


def _naive(workload: Workload) -> Step:
    model = workload.build()
    quantize_naively(model)
    return workload.step(model)


def _simulated(workload: Workload) -> Step:
    model = workload.build()
    precision = quantize_model(model)
    precision.set(FORWARD_BITS, BACKWARD_BITS)
    return workload.step(model)


def _without_compiler(workload: Workload) -> Step:
    step = _simulated(workload)

    def without() -> None:
        with native.disabled():
            step()

    return without


def _bf16(workload: Workload) -> Step:
    step = _fp32(workload)

    def autocast() -> None:
        # Backward and update run outside of it in torch's recipe; inside, autocast leaves them alone.
        with torch.autocast("cpu", dtype=torch.bfloat16):
            step()

    return autocast


_FORMS: dict[str, Callable[[Workload], Step]] = {
    BASE: _fp32,
    "bf16": _bf16,
    "naive": _naive,
    "simulated, PyTorch only": _without_compiler,
    "simulated": _simulated,
}


def forms() -> list[str]:
    """Names of the forms that this machine can take: bf16 only where the processor has instructions for it."""
    has_bf16 = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return [name for name in _FORMS if name != "bf16" or has_bf16]


class Timing(BaseModel):
    """How long the steps of one form took."""

    model_config = ConfigDict(frozen=True)

    workload: str
    form: str
    seconds: float
    """Median of a step."""
    ratio: float
    """Median over the rounds of its time divided by that of `BASE` in the same round."""
    spread: float
    """Interquartile range of those ratios."""


def measure(workload: Workload, wanted: Sequence[str], *, rounds: int, seed: int = 0) -> list[Timing]:
    """Time the forms in turns, `BASE` always among them, after one step of each that does not count.

    Args:
        workload: what is trained.
        wanted: names out of `forms()`.
        rounds: turns, at least 2.
        seed: of the weights and the data.
    """
    names = [BASE, *(name for name in wanted if name != BASE)]
    steps: dict[str, Step] = {}
    for name in names:
        torch.manual_seed(seed)
        steps[name] = _FORMS[name](workload)
        steps[name]()
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(rounds):
        for name, step in steps.items():
            began = time.perf_counter()
            step()
            seconds[name].append(time.perf_counter() - began)
    return [_timing(workload.title, name, seconds[name], seconds[BASE]) for name in names]


def _timing(workload: str, form: str, seconds: list[float], base: list[float]) -> Timing:
    ratios = [mine / other for mine, other in zip(seconds, base, strict=True)]
    low, _median, high = statistics.quantiles(ratios, n=4)
    return Timing(
        workload=workload,
        form=form,
        seconds=statistics.median(seconds),
        ratio=statistics.median(ratios),
        spread=high - low,
    )
