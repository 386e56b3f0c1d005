"""What a training step spends its time on, and what it would take with integer products at the machine's peak, as JSON.

A stopwatch stands around each C++ function, or in the form without them around each pass of PyTorch that rounds; the
parts of torch's own are of its profiler. The gradients of a product's input and weight come from one call; here they
take two, to be told apart. A step of plain fp32 in turns with each gives the ratio.

    python benchmarks/parts.py resnet38 int8
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from cpt_core.process import settle_threads

settle_threads()  # as in training

import torch
from core import INTEGER_PRODUCTS
from torch.profiler import ProfilerActivity, profile

from cpt_core.bench.forms import BASE, FORMS
from cpt_core.bench.machine import SIDE, measure_machine, shortest
from cpt_core.bench.workloads import WORKLOADS, Images, Step, Workload
from cpt_core.quant import noise, sbm
from cpt_core.quant.integer import native_products
from cpt_core.quant.integer.codes import code_tensor, code_weight
from cpt_core.quant.native import functions
from cpt_core.train.memory import keep_freed_memory

ROUNDS = 7
FORWARD, INPUT, WEIGHT = INTEGER_PRODUCTS
ROUNDING, NORM = "ranges, codes and rounding", "batch norm, addition and ReLU"
PARTS = {
    "cpt_convolution": FORWARD,
    "cpt_linear": FORWARD,
    "cpt_linear_kept": FORWARD,
    "cpt_input_gradient_kept": INPUT,
    "cpt_range": ROUNDING,
    "cpt_group_ranges": ROUNDING,
    "cpt_codes": ROUNDING,
    "cpt_round": ROUNDING,
    "cpt_round_rows": ROUNDING,
    "cpt_batch_norm": f"{NORM}, forward",
    "cpt_batch_norm_backward": f"{NORM}, backward",
    "cpt_rectify": f"{NORM}, forward",
    "cpt_rectify_backward": f"{NORM}, backward",
    "cpt_max_pool": "max pooling",
    "cpt_max_pool_backward": "max pooling",
    "cpt_transpose": "transposed gradients and weights",
    "cpt_lstm_step": "gates",
    "cpt_lstm_step_back": "gates",
}
GRADIENTS = {"cpt_convolution_backward": (-3, None), "cpt_linear_backward": (-6, -3)}
"""Where the pointers to the gradients of input, weight and bias are among the arguments."""
TORCH = {
    "products of torch's, in floats": ("linear_pointwise", "mkldnn_convolution", "convolution_backward", "::mm"),
    "attention's products and softmax": ("scaled_dot_product",),
    "GELU": ("gelu",),
    "softmax and loss": ("log_softmax", "nll_loss"),
    "layer norm": ("native_layer_norm",),
    "batch norm of torch's": ("native_batch_norm",),
    "update": ("aten::_fused_",),
}
"""Parts of torch's own, by what is in the names of its functions."""


class Stopwatch:
    """Adds up the seconds of what runs within it, by part; what is timed within another part is that part's no more."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._within = 0.0

    def timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **more: Any) -> Any:
            began, before, self._within = time.perf_counter(), self._within, 0.0
            result = function(*arguments, **more)
            took = time.perf_counter() - began
            self.seconds[part] += took - self._within
            self._within = before + took
            return result

        return run

    def gradients(self, name: str, function: Callable[..., Any]) -> Callable[..., None]:
        first, end = GRADIENTS[name]
        of_input, of_weight = self.timed(INPUT, function), self.timed(WEIGHT, function)

        def run(*arguments: Any) -> None:
            before, (dx, dw, dbias), after = arguments[:first], arguments[first:end], arguments[end:] if end else ()
            of_input(*before, dx, None, None, *after)
            of_weight(*before, None, dw, dbias, *after)

        return run

    def watch(self) -> None:
        """Stand around all that is ours."""
        library = functions()
        for name, part in PARTS.items():
            setattr(library, name, self.timed(part, getattr(library, name)))
        for name in GRADIENTS:
            setattr(library, name, self.gradients(name, getattr(library, name)))
        # Of the form without C++ functions; with them these are not called.
        noise.uniform = self.timed("noise", noise.uniform)  # type: ignore[assignment]
        for name in ("_affine", "_round_weight", "tensor_range"):
            setattr(sbm, name, self.timed(ROUNDING, getattr(sbm, name)))


class Training:
    """Steps of a workload in a form."""

    def __init__(self, workload: Workload, form: str) -> None:
        torch.manual_seed(0)
        model = workload.build()
        FORMS[form].prepare(model)
        self._within: Callable[[str], AbstractContextManager[object]] = FORMS[form].within
        self.step: Step = workload.step(model)

    def seconds(self) -> float:
        """How long one takes."""
        with self._within("cpu"):
            began = time.perf_counter()
            self.step()
            return time.perf_counter() - began

    def torchs(self) -> dict[str, float]:
        """Seconds of the parts of torch's own in one more."""
        with self._within("cpu"), profile(activities=[ProfilerActivity.CPU]) as found:
            self.step()
        seconds: defaultdict[str, float] = defaultdict(float)
        for event in found.key_averages():
            for part, names in TORCH.items():
                if any(name in event.key for name in names):
                    seconds[part] += event.self_cpu_time_total / 1e6
        return dict(seconds)


def integer_macs(workload: Workload) -> int:
    """Multiply-accumulates of 8-bit integers in a step with exact gradients.

    The first layer of a classifier of images and the last of every model stay in floats. The gradient of the input
    takes the weight in 16 bits: twice as many. So does that of the weight in a language model, whose errors have a
    range for each position; of the LSTM's it is half, as the gradients of the hidden states' weights stay in floats.
    The inputs of GELUs, four times as wide as what they are made of, are made twice.
    """
    of_integers = workload.products()[1 if isinstance(workload, Images) else 0 : -1]
    forward = workload.batch_size * sum(product.macs for product in of_integers)
    if workload.model != "transformer_lm":
        return forward * 4
    again = workload.batch_size * sum(p.macs for p in of_integers if p.outputs == 4 * p.inputs)
    return forward * 5 + again


def integer_peak() -> float:
    """Multiply-accumulates of 8-bit integers a second: the faster of our product and torch's, of 2048 x 2048."""
    levels = torch.tensor(255, dtype=torch.int32)
    x = torch.rand(SIDE, SIDE)
    codes, weight = code_tensor(x, torch.tensor(0.0), torch.tensor(1.0), levels), code_weight(x, levels)
    a, b = (torch.randint(-127, 127, (SIDE, SIDE), dtype=torch.int8) for _ in range(2))
    made = (lambda: native_products.linear(codes, weight, None)), (lambda: torch._int_mm(a, b))  # type: ignore[no-untyped-call]
    return SIDE**3 / min(shortest(product, "cpu") for product in made)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("workload", choices=WORKLOADS)
    parser.add_argument("form", choices=FORMS)
    options = parser.parse_args()
    keep_freed_memory()
    machine = measure_machine()
    integers = {}
    if options.form == "int8":  # before the stopwatch stands around its products
        integers = {"integer_peak": integer_peak(), "integer_macs": integer_macs(WORKLOADS[options.workload])}
    workload = WORKLOADS[options.workload]
    plain, ours, watch = Training(workload, BASE), Training(workload, options.form), Stopwatch()
    watch.watch()
    rounds, ratios = [], []
    for _ in range(ROUNDS + 2):
        base = plain.seconds()
        watch.seconds.clear()
        step = ours.seconds()
        rounds.append(dict(watch.seconds) | {"step": step})
        ratios.append(step / base)
    parts = {part: statistics.median(taken[part] for taken in rounds[2:]) for part in rounds[0]}
    seconds = parts.pop("step")
    profiled = [ours.torchs() for _ in range(3)]
    parts |= {part: statistics.median(taken[part] for taken in profiled) for part in profiled[0]}
    parts["the rest"] = seconds - sum(parts.values())
    output: dict[str, Any] = {
        "workload": workload.title,
        "form": options.form,
        "step_seconds": seconds,
        "of_fp32": statistics.median(ratios[2:]),
        "parts": parts,
        "machine": machine.model_dump(),
    }
    print(json.dumps(output | integers))


if __name__ == "__main__":
    main()
