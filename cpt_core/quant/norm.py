"""Batch norm, addition and ReLU in one pass, which keep less for the backward pass than torch's: `norm.cpp`."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from cpt_core.quant.native import at, functions
from cpt_core.quant.ranges import remember


class Running(NamedTuple):
    """Running moments of a norm, and by how much they move towards those of a batch."""

    mean: Tensor
    variance: Tensor
    momentum: float


def batch_norm(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
    added: Tensor | None = None,
    running: Running | None = None,
    *,
    relu: bool = False,
    fixed_point: bool = False,
) -> Tensor:
    """`x` normalised over the batch, plus `added`, rectified if `relu`; all float32 and channels-last in memory.

    With `fixed_point` gradients are those of the norm of x in 16-bit fixed point, which is what is kept of it. Its
    steps are 1/65,533 of a channel's range: an error of about 5e-5 of a normalised element. The batch's moments have
    none. The output and the gradient of x know their ranges, see `ranges.remember`.
    """
    y: Tensor
    y, extremes = _BatchNorm.apply(x, added, weight, bias, eps, running, relu, fixed_point)
    remember(y, extremes)
    return y


def rectify(x: Tensor, *, inplace: bool = False) -> Tensor:
    """The ReLU of a float32 tensor without gaps in memory."""
    result: Tensor = _Rectify.apply(x, inplace)
    return result


class _BatchNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        added: Tensor | None,
        weight: Tensor | None,
        bias: Tensor | None,
        eps: float,
        running: Running | None,
        relu: bool,
        fixed_point: bool,
    ) -> tuple[Tensor, Tensor]:
        y, keep, channels = torch.empty_like(x), any(ctx.needs_input_grad), x.shape[1]
        codes = torch.empty_like(x, dtype=torch.uint16) if keep and fixed_point else None
        bits = _bits(x) if keep and relu and added is not None else None
        mean, variance, inverse, scale, shift = (x.new_empty(channels) for _ in range(5))
        threshold, extremes = torch.empty(channels, dtype=torch.int32), x.new_empty(3)
        functions().cpt_batch_norm(
            *map(at, (x, added)),
            relu,
            *map(at, (weight, bias)),
            eps,
            *map(at, (y, codes, bits, mean, variance, inverse, scale, shift, threshold, extremes)),
            *((None, None, 0.0) if running is None else (*map(at, running[:2]), running.momentum)),
            *_sizes(x),
        )
        kept = x if codes is None else None
        ctx.save_for_backward(kept, codes, bits, weight, mean, inverse, scale, shift, threshold)
        ctx.mark_non_differentiable(extremes)
        return y, extremes

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor, _of_extremes: Tensor | None) -> tuple[Tensor | None, ...]:
        x, codes, bits, *channels = ctx.saved_tensors
        of_x, of_added, of_weight, of_bias, *_ = ctx.needs_input_grad
        g = g.contiguous(memory_format=torch.channels_last)
        dx = torch.empty_like(g) if of_x else None
        added = g if bits is None else torch.empty_like(g)
        dweight, dbias = (g.new_empty(g.shape[1]) for _ in range(2))
        extremes = g.new_empty(3)
        functions().cpt_batch_norm_backward(
            *map(at, (g, x, codes, bits, *channels, dx, added, dweight, dbias, extremes)), *_sizes(g)
        )
        if dx is not None:
            remember(dx, extremes)
        gradients = dx, added if of_added else None, dweight if of_weight else None, dbias if of_bias else None
        return *gradients, None, None, None, None


class _Rectify(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, inplace: bool) -> Tensor:
        y, bits = x if inplace else torch.empty_like(x), _bits(x)
        functions().cpt_rectify(*map(at, (x, y, bits)), x.numel())
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
        functions().cpt_rectify_backward(*map(at, (g, bits, dx)), g.numel())
        return dx, None


def _bits(x: Tensor) -> Tensor:
    """Room for a bit for each element."""
    return torch.empty(-(-x.numel() // 8), dtype=torch.uint8)


def _sizes(x: Tensor) -> tuple[int, int]:
    """Rows and channels."""
    return x.numel() // x.shape[1], x.shape[1]
