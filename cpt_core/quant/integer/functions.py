"""Linear layers and convolutions with rounded operands and errors, whose products run on codes."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from cpt_core.quant.integer import fp8_products, products
from cpt_core.quant.integer.codes import Codes, code_error, code_weight, recode_weight
from cpt_core.quant.integer.native_products import Geometry, Gradients, Wanted
from cpt_core.quant.notes import note, noted
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
        operands = codes, low, span, levels, w.codes if product.keeps_codes else weight, w.low, w.span
        # Saved as tensors, so that setting other widths before the backward pass is an error of autograd's.
        ctx.save_for_backward(*operands, error_levels, seed)
        # Detached it is no view for autograd, so that an in-place ReLU may follow.
        y = product.forward(Codes(codes, low, span, levels), w, bias).detach()
        if not product.keeps_codes and any(ctx.needs_input_grad):
            tensors = *operands, bias
            detached = tuple(None if tensor is None else tensor.detach() for tensor in tensors)
            note(y, _MADE_BY, Recipe(product, detached))
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        *operands, error_levels, seed = ctx.saved_tensors
        x, w = _codes(ctx.product, *operands)
        _, wants_x, wants_weight, wants_bias, *_ = ctx.needs_input_grad
        error = ErrorRounding(error_levels, seed, ctx.share, ctx.fast)
        wanted = wants_x, wants_weight, ctx.has_bias and wants_bias
        return None, *ctx.product.backward(g, error, x, w, wanted), *(None,) * 8


class Recipe(NamedTuple):
    """What the output of a linear layer can be made of again, to the last bit; tensors without history."""

    product: _Linear | _Convolution
    tensors: tuple[Tensor | None, ...]
    """What `made_again` takes. All but the weight and the bias is kept for the product's own gradients too."""


_MADE_BY = "_cpt_recipe"
"""Attribute of an output of `linear`."""


def recipe(y: Tensor) -> Recipe | None:
    """Where `y` is the unchanged output of a `linear` that has a backward pass, what it is made of."""
    found: Recipe | None = noted(y, _MADE_BY)
    return found


def made_again(product: _Linear | _Convolution, *tensors: Tensor | None) -> Tensor:
    """An output from its recipe's tensors."""
    *operands, bias = tensors
    return product.forward(*_codes(product, *operands), bias)


def _codes(product: _Linear | _Convolution, *operands: Any) -> tuple[Codes, Codes]:
    """Input and weight, from what is kept of them."""
    codes, low, span, levels, kept, w_low, w_span = operands
    of_weight = kept, w_low, w_span, levels
    return Codes(codes, low, span, levels), Codes(*of_weight) if product.keeps_codes else recode_weight(*of_weight)


def _matrix(x: Codes) -> Codes:
    """All but the last dimension as one."""
    return x._replace(codes=x.codes.reshape(-1, x.codes.shape[-1]))
