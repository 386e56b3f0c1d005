"""Quantised layers: the torch layer with rounded weight and input, and a rounded gradient at its output.

Both gradients a layer computes (of its input and of its weight) are made from the one rounded gradient. The bias, which
enters no product, stays in full precision. What is kept for the backward pass are the rounded input and weight.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from cpt_core.quant import integer, native, noise, sbm
from cpt_core.quant.bit_widths import BitWidths
from cpt_core.quant.quantizer import Quantizer
from cpt_core.quant.ranges import Share, over_ranks, tensor_range
from cpt_core.quant.straight_through import round_gradient

MOMENTUM = 0.9
"""Of the running range."""


class QuantizedLayer(nn.Module):
    """What the quantised layers have in common. In full precision they are their torch parents.

    For each of its quantised inputs a layer has `running_zero_point` and `running_range` (0-d, in the state dict):
    moving averages, from 0 and without bias correction, of the minimum and the range of the input over the training
    batches of all bit widths. Evaluation uses them, training the batch's own. An empty batch is not observed.
    """

    noise_stream: Tensor
    bit_widths: BitWidths
    quantizer: Quantizer
    backend: integer.Backend
    """What computes its products, wherever bit widths and input allow."""
    input_gradient: integer.InputGradient
    """How the gradient of the input is computed from codes."""
    share: Share | None
    """How ranges are shared with other ranks; None: each rank has its own. See `share_ranges`."""

    def quantized_inputs(self) -> Sequence[str]:
        """What follows `running_range` in the names of the buffers, one for each quantised input."""
        return ("",)

    def quantized_weights(self) -> Sequence[Tensor]:
        """The parameters that are rounded."""
        return [self.get_parameter("weight")]

    def init_quantization(
        self,
        quantizer: Quantizer = sbm.QUANTIZER,
        bit_widths: BitWidths | None = None,
        index: int = 0,
        backend: str = "simulated",
        input_gradient: integer.InputGradient = "exact",
    ) -> None:
        """Add what a quantised layer has beyond its parent.

        Args:
            quantizer: how it rounds.
            bit_widths: its widths, shared with other layers; by default its own, in full precision.
            index: its number among the layers of a model, which makes its noise independent of theirs.
            backend: "simulated", "int8", "fp8" or "auto", see `integer.choose`.
            input_gradient: how accurate that of a product of codes is.
        """
        self.quantizer, self.share = quantizer, None
        self.backend = integer.choose(self, backend)
        self.input_gradient = input_gradient
        self.bit_widths = BitWidths() if bit_widths is None else bit_widths
        like = self.quantized_weights()[0]
        for name in self.quantized_inputs():
            if f"running_range{name}" not in self._buffers:
                self.register_buffer(f"running_zero_point{name}", like.new_zeros(()))
                self.register_buffer(f"running_range{name}", like.new_zeros(()))
        # A tensor, not a number: torch.compile would make a graph for each number.
        stream = torch.tensor(noise.stream(index), device=like.device)
        self.register_buffer("noise_stream", stream, persistent=False)

    def quantize_input(self, x: Tensor, name: str = "") -> Tensor:
        """The rounded input, on the batch's own range in training and the running one in evaluation."""
        if x.numel() == 0:
            return x
        return self.quantizer.activation(x, self.bit_widths.forward_levels, *self._range(x, name))

    def code_input(self, x: Tensor, name: str = "") -> integer.Codes:
        """As `quantize_input`, its codes."""
        return integer.code_tensor(x, *self._range(x, name), self.bit_widths.forward_levels)

    def linear(self, x: Tensor, weight: Tensor, bias: Tensor | None, name: str = "", product: int = 0) -> Tensor:
        """The affine map of the rounded input by the rounded weight; `name` of the input, number of the product."""
        if self.on_codes(x):
            x = x.contiguous()
            return self.linear_of_codes(x, self.code_input(x, name), weight, bias, product)
        y = F.linear(self.quantize_input(x, name), self.quantize_weight(weight), bias)
        return self.quantize_output_gradient(y, product)

    def linear_of_codes(
        self, x: Tensor, codes: integer.Codes, weight: Tensor, bias: Tensor | None, product: int = 0
    ) -> Tensor:
        """As `linear`, of an `x` that has its `codes` already."""
        return integer.linear(x, codes, weight, bias, self.error_rounding(product), fp8=self.backend == "fp8")

    def on_codes(self, x: Tensor) -> bool:
        """Whether the product with `x` runs on codes, if its device has one of the layer's kind."""
        return (
            self.backend != "simulated"
            and self.bit_widths.in_bytes
            and x.dtype == torch.float32
            and x.numel() > 0
            and not torch.compiler.is_compiling()
        )

    def quantize_weight(self, weight: Tensor) -> Tensor:
        """The rounded weight."""
        return self.quantizer.weight(weight, self.bit_widths.forward_levels)

    def quantize_output_gradient(self, y: Tensor, product: int = 0) -> Tensor:
        """`y`, with its gradient rounded on the way back; `product` numbers those of one layer in one pass."""
        widths = self.bit_widths
        if not widths.quantize_backward or not torch.is_grad_enabled():
            return y
        error = self.error_rounding(product)
        return round_gradient(self.quantizer.gradient, y, error.levels, error.seed, error.share)

    def error_rounding(self, product: int = 0) -> integer.ErrorRounding:
        """How the error of a product is rounded, and multiplied."""
        widths = self.bit_widths
        seed = self.noise_seed() + noise.product_stream(product) if widths.stochastic else None
        return integer.ErrorRounding(widths.backward_levels, seed, self.share, self.input_gradient == "fast")

    def noise_seed(self) -> Tensor:
        """Seed of this layer's noise in this pass, 0-d; each of its products adds a stream of its own."""
        return self.bit_widths.seed + self.noise_stream

    def observed(self) -> Tensor:
        """The running zero points and ranges of all inputs, 1-d."""
        return torch.stack([value for name in self.quantized_inputs() for value in self._running(name)])

    def _running(self, name: str) -> tuple[Tensor, Tensor]:
        buffers = cast(dict[str, Tensor], self._buffers)
        return buffers[f"running_zero_point{name}"], buffers[f"running_range{name}"]

    def _range(self, x: Tensor, name: str) -> tuple[Tensor, Tensor]:
        return self._observe(x, name) if self.training else self._running(name)

    def _observe(self, x: Tensor, name: str) -> tuple[Tensor, Tensor]:
        observed, running = tensor_range(x, self.share), self._running(name)
        if native.takes(running[0]) and native.takes(observed[0]):
            native.observe(running, observed, MOMENTUM)
            return observed
        with torch.no_grad():
            for mean, value in zip(running, observed, strict=True):
                mean.mul_(MOMENTUM).add_(value * (1 - MOMENTUM))
        return observed


class QuantConv2d(nn.Conv2d, QuantizedLayer):
    """`torch.nn.Conv2d` with quantised forward and backward pass; same arguments, parameters and shapes."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.init_quantization()

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  # torch's name
        """The convolution of `input`, (batch, in_channels, height, width)."""
        if not self.bit_widths.quantize_forward:
            return super().forward(input)
        if self.on_codes(input) and self.backend == "fp8":  # a linear layer at each pixel
            return self.linear(input.movedim(-3, -1), self.weight.flatten(1), self.bias).movedim(-1, -3)
        if self.on_codes(input) and integer.has_convolutions(input.device):
            x = input.contiguous(memory_format=torch.channels_last)
            place = self.stride[0], cast(int, self.padding[0])  # what integer.choose admits
            return integer.convolution(x, self.code_input(x), self.weight, self.bias, self.error_rounding(), *place)
        y = self._conv_forward(self.quantize_input(input), self.quantize_weight(self.weight), self.bias)
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
        return self.linear(input, self.weight, self.bias)


def share_ranges(model: nn.Module, group: dist.ProcessGroup) -> None:
    """Let the quantised layers of `model` have the same ranges on all ranks of `group`, which nothing else may use.

    Shared are the ranges of inputs, and of errors that have one range for the whole tensor. Those of samples and rows,
    such as an LSTM's gates have, stay each rank's own. Evaluation, which uses running ranges, and full precision share
    nothing.
    """
    share = over_ranks(group)
    for module in model.modules():
        if isinstance(module, QuantizedLayer):
            module.share = share
