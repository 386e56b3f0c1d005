"""What training costs in bit operations, before it runs and while it runs.

A training step has three products per layer: the output (b_f x b_f bits), the gradient of the input and that of the
weight (b_f x b_b bits each), so a multiply-accumulate (MAC) of the forward pass stands for b_f^2 + 2 b_f b_b bit
operations. Full precision counts 32 bits, and full precision forward is full precision throughout.

Bit operations are counted in integers, so a forecast and a run's sum over its steps are equal, not only close.
This module loads torch only inside the functions that look at a model.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import repeat
from typing import TYPE_CHECKING

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


def profile(model: nn.Module, input_shape: tuple[int, ...], dtype: torch.dtype | None = None) -> Profile:
    """Size of the model's work on one sample of shape `input_shape` (without the batch dimension).

    Counted are the products with weights of Conv2d, Linear, LSTM, MultiheadAttention and transformers' Conv1D layers,
    not those of attention scores. A copy of the model runs, if it can on shapes alone: the model does not change.

    Args:
        model: any module.
        input_shape: of a sample.
        dtype: of a sample; by default int64 (tokens) where the sample has one dimension and the model an Embedding,
            else that of the model's first parameter.
    """
    from cpt_core.products import count

    total = Counter[str]()
    for product in count(model, input_shape, dtype):
        total.update(product._asdict())
    return Profile(total["macs"], total["weights"], total["inputs"], total["outputs"])
