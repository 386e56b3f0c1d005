"""Max pooling that keeps a byte for each output for the backward pass: `pool.cpp`."""

from __future__ import annotations

import ctypes
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from cpt_core.quant.native import at, functions, positions


class Windows(NamedTuple):
    """Square windows, whose taps a byte can number."""

    kernel: int
    stride: int
    padding: int


def max_pool(x: Tensor, windows: Windows) -> Tensor:
    """The largest of each window of a float32 tensor (batch, channels, height, width), channels-last in memory."""
    result: Tensor = _MaxPool.apply(x, windows)
    return result


class _MaxPool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, windows: Windows) -> Tensor:
        batch, channels, *image = x.shape
        out = (positions(size, *windows) for size in image)
        y = torch.empty((batch, channels, *out), dtype=x.dtype, memory_format=torch.channels_last)
        places = torch.empty_like(y, dtype=torch.uint8) if ctx.needs_input_grad[0] else None
        ctx.sizes, ctx.shape = (ctypes.c_int64 * 7)(batch, *image, channels, *windows), x.shape
        functions().cpt_max_pool(ctx.sizes, *map(at, (x, y, places)))
        ctx.save_for_backward(places)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        (places,) = ctx.saved_tensors
        g = g.contiguous(memory_format=torch.channels_last)
        dx = torch.empty(ctx.shape, dtype=g.dtype, memory_format=torch.channels_last)
        functions().cpt_max_pool_backward(ctx.sizes, *map(at, (g, places, dx)))
        return dx, None
