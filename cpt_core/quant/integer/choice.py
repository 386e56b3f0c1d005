"""Which layers compute on codes, and how."""

from __future__ import annotations

from typing import Literal

from torch import nn

from cpt_core.quant import gpu, native
from cpt_core.quant.integer import products

Backend = Literal["simulated", "int8", "fp8"]
"""What computes the products of a layer."""

InputGradient = Literal["exact", "fast"]
"""Whether the gradient of an integer product's input takes the weight in 16-bit or in 8-bit fixed point."""

MIN_TERMS = 64
"""Products that a sum of a layer must have for `auto` to choose integers: shorter ones do not pay for making codes."""


def choose(layer: nn.Module, backend: str) -> Backend:
    """The backend of one layer.

    Args:
        layer: a quantised layer, on the device where it will compute.
        backend: "simulated"; "int8", integers wherever the layer has products that can take them; "auto", where that
            is expected to be faster too; or "fp8", 8-bit floats wherever the output is one product of matrices.
    """
    if backend == "fp8":
        return "fp8" if _is_linear(layer) else "simulated"
    if backend == "simulated" or not _can(layer):
        return "simulated"
    return "int8" if backend == "int8" or _pays(layer) else "simulated"


def _is_linear(layer: nn.Module) -> bool:
    if isinstance(layer, nn.Conv2d):  # of single pixels, all of them
        return (
            set(layer.kernel_size) == set(layer.stride) == {1}
            and layer.groups == 1
            and layer.padding in ((0, 0), "valid")
        )
    return not isinstance(layer, nn.LSTM)


def _can(layer: nn.Module) -> bool:
    device = next(layer.parameters()).device
    if isinstance(layer, nn.LSTM):
        return products.has_recurrences(device) and not layer.proj_size
    if not isinstance(layer, nn.Conv2d):
        return True
    square = all(len(set(pair)) == 1 for pair in (layer.kernel_size, layer.stride, layer.dilation))
    padding = layer.padding
    return (
        products.has_convolutions(device)
        and square
        and layer.groups == 1
        and layer.dilation[0] == 1
        and layer.padding_mode == "zeros"
        and not isinstance(padding, str)
        and len(set(padding)) == 1
    )


def _pays(layer: nn.Module) -> bool:
    weights = [parameter for parameter in layer.parameters() if parameter.dim() > 1]
    device = weights[0].device
    if device.type == "cuda":  # there convolutions on integers take up to twice the time of cuDNN's, see docs/gpu.md
        fast = gpu.takes(device) and not isinstance(layer, nn.Conv2d)
    else:
        fast = native.instructions() != "none"
    return fast and all(weight[0].numel() >= MIN_TERMS for weight in weights)
