"""Norms and activations between the quantised layers that take fewer passes over memory, and keep less.

Batch norm, addition and ReLU are one pass, which also finds the range that the quantised layer after it asks for, and
of a ReLU's output only a bit an element is kept. Where products run on integers, which keep a byte for each element
of their input, the norm's own float32 would be most of what a step keeps, and it keeps 16-bit fixed point instead.

In full precision, in evaluation, inside torch.compile, and on tensors that the C++ functions do not take, these are
torch's own.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from cpt_core.norms import BatchNormReLU2d
from cpt_core.quant import integer, native
from cpt_core.quant.bit_widths import BitWidths
from cpt_core.quant.norm import Running, batch_norm, rectify
from cpt_core.quant.pool import Windows, max_pool


class CompactLayer(nn.Module):
    """What these layers have in common."""

    bit_widths: BitWidths
    """Those of the quantised layers around it."""
    among_integers: bool
    """Whether there are layers whose products run on integers."""

    def compact(self, x: Tensor) -> bool:
        """Whether it computes on `x` with the C++ functions."""
        return self.bit_widths.quantize_forward and native.takes(x)

    def in_fixed_point(self) -> bool:
        """Whether it keeps 16-bit fixed point."""
        return self.among_integers and self.bit_widths.in_bytes


class CompactBatchNorm2d(nn.BatchNorm2d, CompactLayer):
    """`torch.nn.BatchNorm2d`, in one pass for each way."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  # torch's name
        """The norm of `input`, (batch, channels, height, width)."""
        if not _takes(self, input):
            return super().forward(input)
        return _normalised(self, input)


class CompactBatchNormReLU2d(BatchNormReLU2d, CompactLayer):
    """`BatchNormReLU2d`, in one pass for each way, which does not keep its output."""

    def forward(self, input: Tensor, shortcut: Tensor | None = None) -> Tensor:  # noqa: A002  # torch's name
        """The rectified norm of `input`, (batch, channels, height, width), or of that plus a `shortcut`."""
        alike = shortcut is None or (shortcut.shape == input.shape and shortcut.dtype == input.dtype)
        if not alike or not _takes(self, input):
            return super().forward(input, shortcut)
        if shortcut is not None:
            shortcut = shortcut.contiguous(memory_format=torch.channels_last)
        return _normalised(self, input, shortcut, relu=True)


class CompactReLU(nn.ReLU, CompactLayer):
    """`torch.nn.ReLU`, which keeps a bit for each element."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  # torch's name
        """`input`, where it is above 0, else 0."""
        # Autograd lets torch's own functions alone change some views, and no function a leaf.
        refused = self.inplace and (input._is_view() or input.is_leaf)
        if refused or not (input.requires_grad and torch.is_grad_enabled()) or not self.compact(input):
            return super().forward(input)
        return rectify(input, inplace=self.inplace)


class CompactMaxPool2d(nn.MaxPool2d, CompactLayer):
    """`torch.nn.MaxPool2d`, which keeps a byte for each output, and not its input and eight bytes more."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  # torch's name
        """The largest of each window of `input`, (batch, channels, height, width)."""
        windows = self._windows()
        if windows is None or not self._takes(input, windows):
            result: Tensor = super().forward(input)
            return result
        return max_pool(input, windows)

    def _windows(self) -> Windows | None:
        """None where it has options that the C++ functions do not."""
        sizes = (set(_pair(size)) for size in (self.kernel_size, self.stride, self.padding))
        (kernel, *oblong), (stride, *uneven), (padding, *more) = sizes
        other = oblong or uneven or more or self.ceil_mode or self.return_indices or set(_pair(self.dilation)) != {1}
        return None if other or kernel > 15 else Windows(kernel, stride, padding)

    def _takes(self, x: Tensor, windows: Windows) -> bool:
        return (
            x.dim() == 4
            and x.is_contiguous(memory_format=torch.channels_last)
            and windows.padding <= windows.kernel // 2  # else torch says so
            and min(x.shape[2:]) + 2 * windows.padding >= windows.kernel  # and here
            and self.compact(x)
        )


def _pair(size: int | tuple[int, ...]) -> tuple[int, ...]:
    return size if isinstance(size, tuple) else (size, size)


class CompactGELU(nn.GELU):
    """`torch.nn.GELU`, by `gelu`."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  # torch's name
        """The GELU of `input`."""
        return gelu(input, self.approximate)


def gelu(input: Tensor, approximate: str = "none") -> Tensor:  # noqa: A002  # torch's name
    """As `torch.nn.functional.gelu`; the output of an integer product is not kept, but made again from its codes.

    The codes, which the product keeps anyway, are a fraction of it. The product is computed once more for it.
    """
    recipe = integer.recipe(input) if torch.is_grad_enabled() and not torch.compiler.is_compiling() else None
    if recipe is None:
        return F.gelu(input, approximate=approximate)
    result: Tensor = _GeluOfProduct.apply(input, approximate, recipe.product, *recipe.tensors)
    return result


class _GeluOfProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, approximate: str, product: Any, *tensors: Tensor | None) -> Tensor:
        ctx.approximate, ctx.product = approximate, product
        ctx.save_for_backward(*tensors)
        return F.gelu(x, approximate=approximate)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        tensors = ctx.saved_tensors
        x = integer.made_again(ctx.product, *tensors)
        return torch.ops.aten.gelu_backward(g, x, approximate=ctx.approximate), None, None, *(None for _ in tensors)


def _takes(norm: CompactBatchNorm2d | CompactBatchNormReLU2d, x: Tensor) -> bool:
    return (
        (norm.training or norm.running_mean is None)
        and x.dim() == 4
        and x.shape[1] == norm.num_features
        and x.numel() > x.shape[1]  # one row has no variance, which torch says
        and x.is_contiguous(memory_format=torch.channels_last)
        and all(parameter.dtype == torch.float32 for parameter in norm.parameters())
        and norm.compact(x)
    )


def _normalised(
    norm: CompactBatchNorm2d | CompactBatchNormReLU2d, x: Tensor, shortcut: Tensor | None = None, *, relu: bool = False
) -> Tensor:
    running = _running(norm) if norm.training else None
    fixed_point = norm.in_fixed_point()
    return batch_norm(x, norm.weight, norm.bias, norm.eps, shortcut, running, relu=relu, fixed_point=fixed_point)


def _running(norm: CompactBatchNorm2d | CompactBatchNormReLU2d) -> Running | None:
    """The running moments as of one batch more; None where it keeps none."""
    mean, variance, batches = norm.running_mean, norm.running_var, norm.num_batches_tracked
    if mean is None or variance is None or batches is None:
        return None
    batches.add_(1)
    return Running(mean, variance, 1 / float(batches) if norm.momentum is None else norm.momentum)


COMPACT_CLASS: dict[type[nn.Module], type[CompactLayer]] = {
    nn.BatchNorm2d: CompactBatchNorm2d,
    BatchNormReLU2d: CompactBatchNormReLU2d,
    nn.ReLU: CompactReLU,
    nn.MaxPool2d: CompactMaxPool2d,
}
"""What each layer becomes. Subclasses are left alone: their forward pass may do more."""


def make_compact(model: nn.Module, bit_widths: BitWidths, *, among_integers: bool) -> None:
    """Have the norms and activations of `model` take fewer passes and keep less; in place, by their class."""
    for module in model.modules():
        if type(module) is nn.GELU:
            module.__class__ = CompactGELU
        elif (
            isinstance(module, nn.TransformerEncoderLayer | nn.TransformerDecoderLayer) and module.activation is F.gelu
        ):
            module.activation = gelu
        if not native.available():
            continue
        if kind := COMPACT_CLASS.get(type(module)):
            module.__class__ = kind
        if isinstance(module, CompactLayer):
            module.bit_widths, module.among_integers = bit_widths, among_integers
