"""A model's forward and backward pass as CUDA graphs: a GPU gets all their kernels at once, and not one by one.

Quantised networks launch hundreds to thousands of small kernels a step, which a GPU finishes faster than Python asks
for them. Bit widths, noise and running ranges are tensors, so one graph serves all of them; only what changes which
kernels there are, such as full precision, or integers instead of floats, needs a graph of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import Tensor, nn

from cpt_core.train.buffers import buffers_kept

LIMIT = 8
"""Graphs that a model can have: each keeps memory of its own. Further shapes of batches go without."""

Forward = Callable[..., Any]


class GraphedForward:
    """Takes the place of a model's `forward`: in training it replays a graph, which it makes when it needs one first.

    Numbers are those of the passes without graphs. Evaluation, and passes without gradients, go without.
    """

    def __init__(self, model: nn.Module, mode: Callable[[], Hashable], capture: Callable[..., Forward] | None = None):
        """Put itself into `model`, which is on a GPU, has no hooks, and keeps its parameters from now on.

        Args:
            model: takes tensors and tuples of them.
            mode: tells which kernels the model would launch now; equal values, the same ones.
            capture: makes a graph of the model for some inputs; by default torch's.
        """
        self._model, self._mode, self._capture = model, mode, capture or _captured
        self._plain: Forward = model.forward
        self._graphs: dict[Hashable, Forward] = {}
        model.forward = self

    def __call__(self, *inputs: Tensor | tuple[Tensor, ...]) -> Any:
        """The model's output."""
        if not (self._model.training and torch.is_grad_enabled()):
            return self._plain(*inputs)
        key = self._mode(), tuple((x.shape, x.stride()) for x in _flat(inputs))
        graph = self._graphs.get(key)
        if graph is None:
            if len(self._graphs) == LIMIT:
                return self._plain(*inputs)
            graph = self._graphs[key] = self._made(inputs)
        return graph(*inputs)

    def _made(self, inputs: tuple[Tensor | tuple[Tensor, ...], ...]) -> Forward:
        """A graph for inputs like these. What making it does to buffers and generators is undone."""
        model, device = self._model, _flat(inputs)[0].device
        samples = tuple(tuple(map(torch.clone, x)) if isinstance(x, tuple) else x.clone() for x in inputs)
        model.forward = self._plain
        try:
            with buffers_kept(model), torch.random.fork_rng([device] if device.type == "cuda" else []):
                return self._capture(model, samples)
        finally:
            model.forward = self


def _flat(inputs: tuple[Tensor | tuple[Tensor, ...], ...]) -> list[Tensor]:
    return [tensor for x in inputs for tensor in (x if isinstance(x, tuple) else (x,))]


def _captured(model: nn.Module, samples: tuple[Any, ...]) -> Forward:
    # Threads that decode images for the next step, or watch NCCL, may talk to the GPU meanwhile: "thread_local".
    torch.cuda.make_graphed_callables(model, samples, capture_error_mode="thread_local")
    graph: Forward = model.forward
    return graph
