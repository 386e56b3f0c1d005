"""What a training step of ResNet-38 in integers spends its time on, as JSON: a stopwatch around each C++ function.

The gradients of a convolution's input and weight come from one call; here they take two, to be told apart.
"""

from __future__ import annotations

import json
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from cpt_core.process import settle_threads

settle_threads()  # as in training

import torch

from cpt_core.bench.forms import FORMS
from cpt_core.bench.machine import measure_machine
from cpt_core.bench.workloads import WORKLOADS
from cpt_core.quant.native import functions
from cpt_core.train.memory import keep_freed_memory

WORKLOAD, ROUNDS = "resnet38", 7
PARTS = {
    "cpt_convolution": "product forward",
    "cpt_linear": "product forward",
    "cpt_range": "ranges and codes",
    "cpt_group_ranges": "ranges and codes",
    "cpt_codes": "ranges and codes",
    "cpt_batch_norm": "batch norm, addition and ReLU, forward",
    "cpt_batch_norm_backward": "batch norm, addition and ReLU, backward",
}
INPUT, WEIGHT = "gradient of the input", "gradient of the weight"
GRADIENTS_AT = -3
"""Where the pointers to the gradients of input, weight and bias begin among the arguments of a convolution's."""


class Stopwatch:
    """Adds up the seconds of what runs within it, by part."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)

    def timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any) -> Any:
            began = time.perf_counter()
            result = function(*arguments)
            self.seconds[part] += time.perf_counter() - began
            return result

        return run

    def gradients(self, function: Callable[..., Any]) -> Callable[..., None]:
        def run(*arguments: Any) -> None:
            rest, (dx, dw, dbias) = arguments[:GRADIENTS_AT], arguments[GRADIENTS_AT:]
            self.timed(INPUT, function)(*rest, dx, None, None)
            self.timed(WEIGHT, function)(*rest, None, dw, dbias)

        return run


def main() -> None:
    keep_freed_memory()
    machine = measure_machine()
    workload = WORKLOADS[WORKLOAD]
    torch.manual_seed(0)
    model = workload.build()
    FORMS["int8"].prepare(model)
    step = workload.step(model)
    library, watch = functions(), Stopwatch()
    for name, part in PARTS.items():
        setattr(library, name, watch.timed(part, getattr(library, name)))
    library.cpt_convolution_backward = watch.gradients(library.cpt_convolution_backward)
    step.optimizer.step = watch.timed("update", step.optimizer.step)  # type: ignore[method-assign]
    whole = watch.timed("step", step)
    rounds = []
    for _ in range(ROUNDS + 2):
        watch.seconds.clear()
        whole()
        rounds.append(dict(watch.seconds))
    parts = {part: statistics.median(taken[part] for taken in rounds[2:]) for part in rounds[0]}
    seconds = parts.pop("step")
    parts["the rest: first and last layer, pooling, loss, autograd"] = seconds - sum(parts.values())
    output = {"workload": workload.title, "step_seconds": seconds, "parts": parts, "machine": machine.model_dump()}
    print(json.dumps(output))


if __name__ == "__main__":
    main()
