"""What multiplies codes on a device: C++ on a CPU, Triton on a GPU, else `torch._int_mm`, linear layers alone."""

from __future__ import annotations

from typing import Protocol, cast

import torch
from torch import Tensor

from cpt_core.quant import gpu, native
from cpt_core.quant.integer import native_products, torch_products
from cpt_core.quant.integer.codes import Codes
from cpt_core.quant.integer.native_products import Geometry, Gradients, Wanted


class LinearProducts(Protocol):
    """Those of linear layers."""

    def linear(self, x: Codes, w: Codes, bias: Tensor | None) -> Tensor:
        """As `native_products.linear`."""

    def linear_backward(
        self, error: Codes, group_rows: int, x: Codes, w: Codes, wanted: Wanted, *, fast: bool = False
    ) -> Gradients:
        """As `native_products.linear_backward`."""


class ConvolutionProducts(Protocol):
    """Those of convolutions."""

    def convolution(self, geometry: Geometry, x: Codes, w: Codes, bias: Tensor | None) -> Tensor:
        """As `native_products.convolution`."""

    def convolution_backward(
        self, geometry: Geometry, error: Codes, x: Codes, w: Codes, wanted: Wanted, *, fast: bool = False
    ) -> Gradients:
        """As `native_products.convolution_backward`."""


def of_linear_layers(device: torch.device) -> LinearProducts:
    """Products of linear layers; every device has some."""
    if gpu.takes(device):
        return _triton()
    return cast(LinearProducts, native_products if device.type == "cpu" and native.enabled() else torch_products)


def of_convolutions(device: torch.device) -> ConvolutionProducts:
    """Products of convolutions, where `has_convolutions`."""
    return _triton() if gpu.takes(device) else cast(ConvolutionProducts, native_products)


def has_convolutions(device: torch.device) -> bool:
    """Whether convolutions run on codes there."""
    return gpu.takes(device) or (device.type == "cpu" and native.available())


def has_recurrences(device: torch.device) -> bool:
    """Whether LSTMs run on codes there: on a GPU the many small steps of one would wait for their launches."""
    return device.type == "cpu" and native.available()


def instructions(device: torch.device) -> str:
    """What multiplies codes there, in words: an instruction set of the CPU, "none", or a library of kernels."""
    if gpu.takes(device):
        import triton

        return f"Triton {triton.__version__}{' (interpreter)' if gpu.interpreting() else ''}"
    return native.instructions() if device.type == "cpu" else "torch._int_mm"


class _Products(LinearProducts, ConvolutionProducts, Protocol):
    pass


def _triton() -> _Products:
    from cpt_core.quant.integer import triton_products  # needs triton, which not all have

    return triton_products
