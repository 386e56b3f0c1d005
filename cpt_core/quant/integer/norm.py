"""Batch norm and ReLU that keep two bytes, or a bit, an element for the backward pass: `norm.cpp`."""

from __future__ import annotations

import ctypes
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from cpt_core.quant.native import functions


class Moments(NamedTuple):
    """Of a batch, one of each for a channel."""

    mean: Tensor
    variance: Tensor
    """Biased."""


def batch_norm(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
    added: Tensor | None = None,
    *,
    relu: bool = False,
) -> tuple[Tensor, Moments]:
    """`x` normalised over the batch, plus `added`, rectified if `relu`; all float32 and channels-last in memory.

    Gradients are those of the norm of x in 16-bit fixed point, whose steps are 1/65,533 of a channel's range: an error
    of about 5e-5 of a normalised element. The batch's moments have none.
    """
    y, mean, variance = _BatchNorm.apply(x, added, weight, bias, eps, relu)
    return y, Moments(mean, variance)


def rectify(x: Tensor, *, inplace: bool = False) -> Tensor:
    """The ReLU of a float32 tensor without gaps in memory."""
    result: Tensor = _Rectify.apply(x, inplace)
    return result


class _BatchNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, added: Tensor | None, weight: Tensor | None, bias: Tensor | None, eps: float, relu: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        y, keep, channels = torch.empty_like(x), any(ctx.needs_input_grad), x.shape[1]
        codes = torch.empty_like(x, dtype=torch.uint16) if keep else None
        bits = _bits(x) if keep and relu and added is not None else None
        mean, variance, inverse, scale, shift = (x.new_empty(channels) for _ in range(5))
        threshold = torch.empty(channels, dtype=torch.int32)
        functions().cpt_batch_norm(
            *map(_at, (x, added)),
            ctypes.c_int32(relu),
            *map(_at, (weight, bias)),
            ctypes.c_double(eps),
            *map(_at, (y, codes, bits, mean, variance, inverse, scale, shift, threshold)),
            *_sizes(x),
        )
        ctx.save_for_backward(codes, bits, weight, inverse, scale, shift, threshold)
        ctx.mark_non_differentiable(mean, variance)
        return y, mean, variance

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor, *_of_moments: Tensor | None) -> tuple[Tensor | None, ...]:
        codes, bits, *channels = ctx.saved_tensors
        of_x, of_added, of_weight, of_bias, *_ = ctx.needs_input_grad
        g = g.contiguous(memory_format=torch.channels_last)
        dx = torch.empty_like(g) if of_x else None
        added = g if bits is None else torch.empty_like(g)
        dweight, dbias = (g.new_empty(g.shape[1]) for _ in range(2))
        functions().cpt_batch_norm_backward(
            *map(_at, (g, codes, bits, *channels, dx, added, dweight, dbias)), *_sizes(g)
        )
        gradients = dx, added if of_added else None, dweight if of_weight else None, dbias if of_bias else None
        return *gradients, None, None


class _Rectify(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, inplace: bool) -> Tensor:
        y, bits = x if inplace else torch.empty_like(x), _bits(x)
        functions().cpt_rectify(*map(_at, (x, y, bits)), ctypes.c_int64(x.numel()))
        if inplace:
            ctx.mark_dirty(x)
        ctx.save_for_backward(bits)
        ctx.strides = x.stride()
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        (bits,) = ctx.saved_tensors
        dx = torch.empty_strided(g.shape, ctx.strides, dtype=g.dtype)
        if g.stride() != dx.stride():  # bits are in the order of memory
            g = torch.empty_strided(g.shape, ctx.strides, dtype=g.dtype).copy_(g)
        functions().cpt_rectify_backward(*map(_at, (g, bits, dx)), ctypes.c_int64(g.numel()))
        return dx, None


def _bits(x: Tensor) -> Tensor:
    """Room for a bit for each element."""
    return torch.empty(-(-x.numel() // 8), dtype=torch.uint8)


def _sizes(x: Tensor) -> tuple[ctypes.c_int64, ctypes.c_int64]:
    """Rows and channels."""
    return ctypes.c_int64(x.numel() // x.shape[1]), ctypes.c_int64(x.shape[1])


def _at(x: Tensor | None) -> ctypes.c_void_p:
    return ctypes.c_void_p(None if x is None else x.data_ptr())
