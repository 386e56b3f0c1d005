"""Quantised layers: the torch layer with rounded weight and input, and a rounded gradient at its output.

Both gradients a layer computes (of its input and of its weight) are made from the one rounded gradient. The bias, which
enters no product, stays in full precision. What is kept for the backward pass are the rounded input and weight.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cpt_core.quant import noise, sbm
from cpt_core.quant.bit_widths import BitWidths
from cpt_core.quant.registry import QUANTIZERS, Quantizer
from cpt_core.quant.straight_through import round_gradient, straight_through

MOMENTUM = 0.9
"""Of the running range."""


class QuantizedLayer(nn.Module):
    """What the quantised layers have in common. In full precision they are their torch parents.

    `running_zero_point` and `running_range` (0-d, saved in the state dict) are moving averages, from 0 and without bias
    correction, of the minimum and the range of the input over the training batches of all bit widths; evaluation uses
    them, training the batch's own. An empty batch is not observed.
    """

    weight: Tensor
    running_zero_point: Tensor
    running_range: Tensor
    noise_stream: Tensor
    bit_widths: BitWidths
    quantizer: Quantizer

    def init_quantization(
        self, quantizer: Quantizer = QUANTIZERS["sbm"], bit_widths: BitWidths | None = None, index: int = 0
    ) -> None:
        """Add what a quantised layer has beyond its parent.

        Args:
            quantizer: how it rounds.
            bit_widths: its widths, shared with other layers; by default its own, in full precision.
            index: its number among the layers that share the widths, which makes its noise independent of theirs.
        """
        self.quantizer = quantizer
        self.bit_widths = BitWidths() if bit_widths is None else bit_widths
        if "running_range" not in self._buffers:
            self.register_buffer("running_zero_point", self.weight.new_zeros(()))
            self.register_buffer("running_range", self.weight.new_zeros(()))
        # A tensor, not a number: torch.compile would make a graph for each number.
        stream = torch.tensor(noise.stream(index), device=self.weight.device)
        self.register_buffer("noise_stream", stream, persistent=False)

    def quantize_input(self, x: Tensor) -> Tensor:
        """The rounded input, on the batch's own range in training and the running one in evaluation."""
        if x.numel() == 0:
            return x
        zero_point, span = self._observe(x) if self.training else (self.running_zero_point, self.running_range)
        return straight_through(self.quantizer.activation, x, self.bit_widths.forward_levels, zero_point, span)

    def quantize_weight(self) -> Tensor:
        """The rounded weight."""
        return straight_through(self.quantizer.weight, self.weight, self.bit_widths.forward_levels)

    def quantize_output_gradient(self, y: Tensor) -> Tensor:
        """`y`, with its gradient rounded on the way back."""
        widths = self.bit_widths
        if not widths.quantize_backward or not torch.is_grad_enabled():
            return y
        seed = widths.seed + self.noise_stream if widths.stochastic else None
        return round_gradient(self.quantizer.gradient, y, widths.backward_levels, seed)

    @torch.no_grad()
    def _observe(self, x: Tensor) -> tuple[Tensor, Tensor]:
        zero_point, span = sbm.tensor_range(x)
        self.running_zero_point.mul_(MOMENTUM).add_(zero_point * (1 - MOMENTUM))
        self.running_range.mul_(MOMENTUM).add_(span * (1 - MOMENTUM))
        return zero_point, span


class QuantConv2d(nn.Conv2d, QuantizedLayer):
    """`torch.nn.Conv2d` with quantised forward and backward pass; same arguments, parameters and shapes."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.init_quantization()

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  # torch's name
        """The convolution of `input`, (batch, in_channels, height, width)."""
        if not self.bit_widths.quantize_forward:
            return super().forward(input)
        y = self._conv_forward(self.quantize_input(input), self.quantize_weight(), self.bias)
        return self.quantize_output_gradient(y)


class QuantLinear(nn.Linear, QuantizedLayer):
    """`torch.nn.Linear` with quantised forward and backward pass; same arguments, parameters and shapes."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.init_quantization()

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  # torch's name
        """The affine map of `input`, (..., in_features)."""
        if not self.bit_widths.quantize_forward:
            return super().forward(input)
        return self.quantize_output_gradient(F.linear(self.quantize_input(input), self.quantize_weight(), self.bias))
