"""Linear layers and convolutions with rounded operands and errors, whose products run on codes."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from cpt_core.quant import native
from cpt_core.quant.integer import native_products, torch_products
from cpt_core.quant.integer.codes import Codes, code_error, code_weight
from cpt_core.quant.integer.native_products import Geometry
from cpt_core.quant.ranges import Share


class ErrorRounding(NamedTuple):
    """How the error at a layer's output is rounded."""

    levels: Tensor
    """0-d int32."""
    seed: Tensor | None
    """Of the noise, 0-d int64; None: rounds to nearest."""
    share: Share | None
    """Shares ranges of whole tensors with other ranks."""


def linear(x: Tensor, codes: Codes, weight: Tensor, bias: Tensor | None, error: ErrorRounding) -> Tensor:
    """The affine map of the rounded `x`, (..., in_features), by the rounded `weight`, (out_features, in_features).

    `codes` are those of `x`, to which gradients pass straight through.
    """
    result: Tensor = _Linear.apply(x, weight, bias, *codes, error.levels, error.seed, error.share)
    return result


def convolution(
    x: Tensor, codes: Codes, weight: Tensor, bias: Tensor | None, error: ErrorRounding, stride: int, padding: int
) -> Tensor:
    """The 2-d convolution of the rounded `x`, channels-last in memory, by the rounded square `weight`."""
    result: Tensor = _Convolution.apply(x, weight, bias, *codes, error.levels, error.seed, error.share, stride, padding)
    return result


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        codes: Tensor,
        low: Tensor,
        span: Tensor,
        levels: Tensor,
        error_levels: Tensor,
        seed: Tensor | None,
        share: Share | None,
    ) -> Tensor:
        w = code_weight(weight, levels)
        ctx.share, ctx.has_bias = share, bias is not None
        # Saved as tensors, so that setting other widths before the backward pass is an error of autograd's.
        ctx.save_for_backward(codes, low, span, levels, w.codes, w.low, w.span, error_levels, seed)
        products = _products(x)
        y: Tensor = products.linear(_matrix(Codes(codes, low, span, levels)), w, bias)
        return y.view(*x.shape[:-1], len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        codes, low, span, levels, w_codes, w_low, w_span, error_levels, seed = ctx.saved_tensors
        x, w = Codes(codes, low, span, levels), Codes(w_codes, w_low, w_span, levels)
        g = g.contiguous()
        error = code_error(g, error_levels, seed, ctx.share)
        rows = g.numel() // g.shape[-1]
        # Errors of (time, batch, features) have ranges of their own for each index of `batch`.
        group_rows = 1 if error.low.dim() else rows
        wanted = (ctx.needs_input_grad[0], ctx.needs_input_grad[1], ctx.has_bias and ctx.needs_input_grad[2])
        dx, dw, dbias = _products(g).linear_backward(_matrix(error), group_rows, _matrix(x), w, wanted)
        return None if dx is None else dx.view(codes.shape), dw, dbias, *(None,) * 7


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        codes: Tensor,
        low: Tensor,
        span: Tensor,
        levels: Tensor,
        error_levels: Tensor,
        seed: Tensor | None,
        share: Share | None,
        stride: int,
        padding: int,
    ) -> Tensor:
        w = code_weight(weight.contiguous(memory_format=torch.channels_last), levels)
        ctx.share, ctx.has_bias = share, bias is not None
        batch, channels, height, width = x.shape
        ctx.geometry = Geometry(batch, channels, height, width, len(weight), weight.shape[-1], stride, padding)
        ctx.save_for_backward(codes, low, span, levels, w.codes, w.low, w.span, error_levels, seed)
        return native_products.convolution(ctx.geometry, Codes(codes, low, span, levels), w, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        codes, low, span, levels, w_codes, w_low, w_span, error_levels, seed = ctx.saved_tensors
        x, w = Codes(codes, low, span, levels), Codes(w_codes, w_low, w_span, levels)
        error = code_error(g.contiguous(memory_format=torch.channels_last), error_levels, seed, ctx.share)
        wanted = (ctx.needs_input_grad[0], ctx.needs_input_grad[1], ctx.has_bias and ctx.needs_input_grad[2])
        gradients = native_products.convolution_backward(ctx.geometry, error, x, w, wanted)
        return *gradients, *(None,) * 9


def _products(x: Tensor) -> Any:
    return native_products if native.takes(x) else torch_products


def _matrix(x: Codes) -> Codes:
    """All but the last dimension as one."""
    return x._replace(codes=x.codes.reshape(-1, x.codes.shape[-1]))
