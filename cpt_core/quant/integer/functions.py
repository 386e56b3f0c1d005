"""Linear layers and convolutions with rounded operands and errors, whose products run on codes."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from cpt_core.quant.integer import fp8_products, products
from cpt_core.quant.integer.codes import Codes, code_error, code_weight, recode_weight
from cpt_core.quant.integer.native_products import Geometry, Gradients, Wanted
from cpt_core.quant.ranges import Share


class ErrorRounding(NamedTuple):
    """How the error at a layer's output is rounded, and multiplied."""

    levels: Tensor
    """0-d int32."""
    seed: Tensor | None
    """Of the noise, 0-d int64; None: rounds to nearest."""
    share: Share | None
    """Shares ranges of whole tensors with other ranks."""
    fast: bool = False
    """Whether the gradient of the input takes the weight in 8-bit fixed point instead of 16-bit."""


def linear(
    x: Tensor, codes: Codes, weight: Tensor, bias: Tensor | None, error: ErrorRounding, *, fp8: bool = False
) -> Tensor:
    """The affine map of the rounded `x`, (..., in_features), by the rounded `weight`, (out_features, in_features).

    `codes` are those of `x`, to which gradients pass straight through. If `fp8`, they are multiplied as 8-bit floats;
    in the products of the gradients they are codes all the same.
    """
    return _apply(_Linear(fp8=fp8), x, codes, weight, bias, error)


def convolution(
    x: Tensor, codes: Codes, weight: Tensor, bias: Tensor | None, error: ErrorRounding, stride: int, padding: int
) -> Tensor:
    """The 2-d convolution of the rounded `x`, channels-last in memory, by the rounded square `weight`."""
    batch, channels, height, width = x.shape
    geometry = Geometry(batch, channels, height, width, len(weight), weight.shape[-1], stride, padding)
    weight = weight.contiguous(memory_format=torch.channels_last)
    return _apply(_Convolution(geometry), x, codes, weight, bias, error)


class _Linear:
    """The products of a linear layer."""

    def __init__(self, *, fp8: bool) -> None:
        self._fp8 = fp8

    keeps_codes = False
    """Whether the codes of the weight are kept for the backward pass; else they are made from it once more."""

    def forward(self, x: Codes, w: Codes, bias: Tensor | None) -> Tensor:
        multiply = fp8_products.linear if self._fp8 else products.of_linear_layers(x.codes.device).linear
        y = multiply(_matrix(x), w, bias)
        return y.view(*x.codes.shape[:-1], len(w.codes))

    def backward(self, g: Tensor, error: ErrorRounding, x: Codes, w: Codes, wanted: Wanted) -> Gradients:
        e = code_error(g.contiguous(), error.levels, error.seed, error.share)
        # Errors of (time, batch, features) have ranges of their own for each index of `batch`.
        group_rows = 1 if e.low.dim() else g.numel() // g.shape[-1]
        backward = products.of_linear_layers(g.device).linear_backward
        dx, dw, dbias = backward(_matrix(e), group_rows, _matrix(x), w, wanted, fast=error.fast)
        return None if dx is None else dx.view(x.codes.shape), dw, dbias


class _Convolution:
    """The products of a convolution."""

    keeps_codes = True  # the weight may be a copy, in the order of memory of this product

    def __init__(self, geometry: Geometry) -> None:
        self._geometry = geometry

    def forward(self, x: Codes, w: Codes, bias: Tensor | None) -> Tensor:
        return products.of_convolutions(x.codes.device).convolution(self._geometry, x, w, bias)

    def backward(self, g: Tensor, error: ErrorRounding, x: Codes, w: Codes, wanted: Wanted) -> Gradients:
        e = code_error(g.contiguous(memory_format=torch.channels_last), error.levels, error.seed, error.share)
        backward = products.of_convolutions(g.device).convolution_backward
        return backward(self._geometry, e, x, w, wanted, fast=error.fast)


def _apply(
    product: _Linear | _Convolution,
    x: Tensor,
    codes: Codes,
    weight: Tensor,
    bias: Tensor | None,
    error: ErrorRounding,
) -> Tensor:
    result: Tensor = _Product.apply(product, x, weight, bias, *codes, *error)
    return result


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        product: _Linear | _Convolution,
        _x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        codes: Tensor,
        low: Tensor,
        span: Tensor,
        levels: Tensor,
        error_levels: Tensor,
        seed: Tensor | None,
        share: Share | None,
        fast: bool,
    ) -> Tensor:
        w = code_weight(weight, levels)
        ctx.product, ctx.share, ctx.fast, ctx.has_bias = product, share, fast, bias is not None
        # Saved as tensors, so that setting other widths before the backward pass is an error of autograd's.
        kept = w.codes if product.keeps_codes else weight
        ctx.save_for_backward(codes, low, span, levels, kept, w.low, w.span, error_levels, seed, bias)
        return product.forward(Codes(codes, low, span, levels), w, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, w, _bias = _operands(ctx)
        *_, error_levels, seed, _ = ctx.saved_tensors
        _, wants_x, wants_weight, wants_bias, *_ = ctx.needs_input_grad
        error = ErrorRounding(error_levels, seed, ctx.share, ctx.fast)
        wanted = wants_x, wants_weight, ctx.has_bias and wants_bias
        return None, *ctx.product.backward(g, error, x, w, wanted), *(None,) * 8


def _operands(ctx: Any) -> tuple[Codes, Codes, Tensor | None]:
    """Input, weight and bias of a product, from what it has kept."""
    codes, low, span, levels, kept, w_low, w_span, *_, bias = ctx.saved_tensors
    x, of_weight = Codes(codes, low, span, levels), (kept, w_low, w_span, levels)
    return x, Codes(*of_weight) if ctx.product.keeps_codes else recode_weight(*of_weight), bias


def is_product(y: Tensor) -> bool:
    """Whether `y` is what `linear` or `convolution` gave, for a backward pass."""
    return isinstance(y.grad_fn, _Product._backward_cls)  # which its metaclass makes


def made_again(node: Any) -> Tensor:
    """The output of the product of which `node` is the `grad_fn`, to the last bit; before its own backward pass."""
    made: Tensor = node.product.forward(*_operands(node))
    return made


def _matrix(x: Codes) -> Codes:
    """All but the last dimension as one."""
    return x._replace(codes=x.codes.reshape(-1, x.codes.shape[-1]))
