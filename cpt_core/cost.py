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
from typing import TYPE_CHECKING

from cpt_core.schedules import Schedule

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, slots=True)
class Profile:
    """The size of a model's work on one sample: its convolutions and linear layers."""

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


def gbitops(macs: int, samples: int, schedule: Schedule, backward_bits: int) -> float:
    """GBitOPs of a whole training run.

    Args:
        macs: multiply-accumulates of one sample's forward pass.
        samples: samples over the whole run (steps x batch size), spread evenly over the steps.
        schedule: bit widths of weights and activations.
        backward_bits: bit width of the errors.
    """
    steps_at = Counter(schedule.all().tolist())
    per_mac = sum(count * bit_operations_per_mac(bits, backward_bits) for bits, count in steps_at.items())
    return macs * samples * per_mac / (schedule.steps * 10**9)


def macs(model: nn.Module, input_shape: tuple[int, ...]) -> int:
    """Multiply-accumulates of the forward pass on one sample; `input_shape` is without the batch dimension."""
    return profile(model, input_shape).macs


def profile(model: nn.Module, input_shape: tuple[int, ...]) -> Profile:
    """Size of the model's work on one sample of shape `input_shape` (without the batch dimension).

    Runs a copy of the model on the meta device, which has shapes but no data: nothing is computed or changed.
    """
    import copy

    import torch
    from torch import nn

    counted = Counter[str]()

    def count(layer: nn.Conv2d | nn.Linear, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        # A weight has the output channels first; one output element needs all the others.
        counted["macs"] += output.numel() * layer.weight[0].numel()
        counted["weights"] += layer.weight.numel()
        counted["activations"] += args[0].numel()
        counted["outputs"] += output.numel()

    meta = copy.deepcopy(model).to("meta").eval()
    for layer in meta.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(count)
    dtype = next(meta.parameters()).dtype
    with torch.no_grad():
        meta(torch.empty((1, *input_shape), device="meta", dtype=dtype))
    return Profile(counted["macs"], counted["weights"], counted["activations"], counted["outputs"])
