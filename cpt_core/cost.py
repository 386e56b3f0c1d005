"""What training costs in bit operations, before it runs and while it runs.

A training step has three products per layer: the output (b_f x b_f bits), the gradient of the input and that of the
weight (b_f x b_b bits each), so a multiply-accumulate (MAC) of the forward pass stands for b_f^2 + 2 b_f b_b bit
operations. Full precision counts 32 bits, and full precision forward is full precision throughout.

Bit operations are counted in integers, so a forecast and a run's sum over its steps are equal, not only close.
This module loads torch only inside the functions that look at a model.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import repeat
from typing import TYPE_CHECKING, Any

from cpt_core.schedules import Schedule

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(frozen=True, slots=True)
class Profile:
    """The size of a model's work on one sample, in the layers that have weights to multiply with."""

    macs: int
    """Multiply-accumulates of the forward pass."""
    weights: int
    """Elements of the weights."""
    activations: int
    """Elements that go into the layers."""
    outputs: int
    """Elements that come out of the layers."""


def bit_operations_per_mac(forward_bits: int, backward_bits: int) -> int:
    """b_f^2 + 2 b_f b_b, where 0 counts as 32, and full precision forward has full precision gradients."""
    forward = forward_bits or 32
    backward = (backward_bits or 32) if forward != 32 else 32
    return forward * forward + 2 * forward * backward


def relative_cost(forward_bits: int, backward_bits: int) -> float:
    """Cost of a training step relative to a 32-bit one: (b_f^2 + 2 b_f b_b) / 3 / 32^2."""
    return bit_operations_per_mac(forward_bits, backward_bits) / 3 / 32**2


def step_bit_operations(macs: int, samples: int, forward_bits: int, backward_bits: int) -> int:
    """Bit operations of one step over `samples` samples of `macs` MACs each."""
    return macs * samples * bit_operations_per_mac(forward_bits, backward_bits)


def step_gbitops(macs: int, samples: int, forward_bits: int, backward_bits: int) -> float:
    """`step_bit_operations` in GBitOPs. A run's total is the sum of the integers, divided once."""
    return step_bit_operations(macs, samples, forward_bits, backward_bits) / 10**9


def gbitops(macs: int, samples: int, schedule: Schedule, backward_bits: int | Schedule) -> float:
    """GBitOPs of a whole training run.

    Args:
        macs: multiply-accumulates of one sample's forward pass.
        samples: samples over the whole run (steps x batch size), spread evenly over the steps.
        schedule: bit widths of weights and activations.
        backward_bits: bit width of the errors, or their schedule over the same steps.
    """
    forward = schedule.all().tolist()
    backward = repeat(backward_bits) if isinstance(backward_bits, int) else backward_bits.all().tolist()
    steps_at = Counter(zip(forward, backward, strict=False))
    per_mac = sum(count * bit_operations_per_mac(*widths) for widths, count in steps_at.items())
    return macs * samples * per_mac / (schedule.steps * 10**9)


@dataclass(frozen=True, slots=True)
class Comparison:
    """A cost beside what other training of as many samples would have cost."""

    gbitops: float
    """The cost itself."""
    gbitops_static: float
    """With the highest bit widths of the schedules throughout."""
    gbitops_fp32: float
    """In full precision."""
    saved_vs_static: float
    """1 - gbitops / gbitops_static."""
    saved_vs_fp32: float
    """1 - gbitops / gbitops_fp32."""


def compare(gbitops: float, macs: int, samples: int, max_bits: int, max_gradient_bits: int) -> Comparison:
    """What `samples` samples of `macs` MACs each cost, beside static and full precision training.

    Args:
        gbitops: what they cost.
        macs: multiply-accumulates of one sample's forward pass.
        samples: samples trained on, at least 1.
        max_bits: bit width of weights and activations in static training.
        max_gradient_bits: bit width of the errors in static training.
    """
    static = step_gbitops(macs, samples, max_bits, max_gradient_bits)
    full = step_gbitops(macs, samples, 32, 32)
    return Comparison(gbitops, static, full, 1 - gbitops / static, 1 - gbitops / full)


def macs(model: nn.Module, input_shape: tuple[int, ...]) -> int:
    """Multiply-accumulates of the forward pass on one sample; `input_shape` is without the batch dimension."""
    return profile(model, input_shape).macs


def profile(model: nn.Module, input_shape: tuple[int, ...]) -> Profile:
    """Size of the model's work on one sample of shape `input_shape` (without the batch dimension).

    Counted are the products with weights of Conv2d, Linear, LSTM and MultiheadAttention layers, not those of attention
    scores. A model whose first layer is an Embedding takes tokens. Runs a copy of the model on the meta device, which
    has shapes but no data: nothing is computed or changed.
    """
    import copy

    import torch
    from torch import nn

    total = Counter[str]()

    def count(layer: nn.Module, args: tuple[torch.Tensor, ...], output: Any) -> None:
        for macs, weights, inputs, outputs in _products(layer, args, output):
            total.update(macs=macs, weights=weights, inputs=inputs, outputs=outputs)

    meta = copy.deepcopy(model).to("meta").eval()
    for layer in meta.modules():
        layer.register_forward_hook(count)
    first_leaf = next(layer for layer in meta.modules() if not any(layer.children()))
    dtype = torch.long if isinstance(first_leaf, nn.Embedding) else next(meta.parameters()).dtype
    with torch.no_grad():
        meta(torch.empty((1, *input_shape), device="meta", dtype=dtype))
    return Profile(total["macs"], total["weights"], total["inputs"], total["outputs"])


def _products(layer: nn.Module, args: tuple[torch.Tensor, ...], output: Any) -> Iterator[tuple[int, int, int, int]]:
    """(MACs, weight elements, input elements, output elements) of the products that one call of a layer makes."""
    from torch import nn

    if isinstance(layer, nn.Conv2d | nn.Linear):
        # A weight has the output channels first; one output element needs all the others.
        outputs = output.numel()
        yield outputs * layer.weight[0].numel(), layer.weight.numel(), args[0].numel(), outputs
    elif isinstance(layer, nn.LSTM):
        time_steps = args[0].numel() // args[0].shape[-1]
        for name, weight in layer.named_parameters():
            if name.startswith("weight"):
                rows, columns = weight.shape
                yield time_steps * weight.numel(), weight.numel(), time_steps * columns, time_steps * rows
    elif isinstance(layer, nn.MultiheadAttention):
        query, key, value = args[:3]
        # The output projection has the shape of the query's.
        for x in (query, key, value, query):
            tokens, width = x.numel() // x.shape[-1], x.shape[-1]
            outputs = tokens * layer.embed_dim
            yield outputs * width, layer.embed_dim * width, x.numel(), outputs
