"""Products of codes by `torch._int_mm`, on a GPU, and on the CPU where the C++ functions were not built.

An input gradient takes two products, of the high and the low byte of 16-bit weights.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from cpt_core.quant.integer.codes import Codes
from cpt_core.quant.integer.native_products import Gradients, Wanted

WIDE_LEVELS = 127 * 256 + 127
"""Largest number of 16-bit fixed point whose bytes are both signed."""

NARROW_LEVELS = 127
"""Largest number of 8-bit fixed point."""


class Operand(NamedTuple):
    """Rows of small numbers that stand for `small * scale + zero_point`."""

    sums: Tensor
    """Of the small numbers of each row, as floats."""
    scale: Tensor
    """0-d, or one for each row; and so is the next:"""
    zero_point: Tensor


class _Signed(NamedTuple):
    """Numbers as `bytes * scale + zero_point`."""

    bytes: Tensor
    scale: Tensor
    zero_point: Tensor

    def operand(self) -> Operand:
        """The rows of a matrix."""
        return Operand(self.bytes.sum(1).to(self.scale.dtype), self.scale, self.zero_point)


class _Wide(NamedTuple):
    """Numbers as `(high * 256 + low) * scale`."""

    high: Tensor
    low: Tensor
    scale: Tensor

    def sums(self) -> Tensor:
        """Over the first dimension."""
        codes = self.high.sum(0, dtype=torch.int64) * 256 + self.low.sum(0, dtype=torch.int64)
        return codes.to(self.scale.dtype) * self.scale


def linear(x: Codes, w: Codes, bias: Tensor | None) -> Tensor:
    """(rows, n) from x (rows, k) and w (n, k)."""
    a, b = _signed(x), _signed(w)
    return numbers_of(_products(a.bytes, b.bytes.t()), a.bytes.shape[1], a.operand(), b.operand(), bias)


def numbers_of(product: Tensor, k: int, a: Operand, b: Operand, bias: Tensor | None) -> Tensor:
    """What the product of small numbers, sums of `k` terms, stands for: rows of `a`, 0-d scale, by rows of `b`."""
    rows = a.scale * a.sums + k * a.zero_point
    columns = a.zero_point * b.scale * b.sums
    y = product * (a.scale * b.scale) + rows[:, None] * b.zero_point + columns
    return y if bias is None else y + bias


def linear_backward(
    error: Codes, group_rows: int, x: Codes, w: Codes, wanted: Wanted, *, fast: bool = False
) -> Gradients:
    """Gradients of `linear` from the error (rows, n), whose groups of rows take turns, `group_rows` rows each.

    If `fast`, that of the input takes the weight in 8-bit fixed point, in one product.
    """
    g = _signed(error, group_rows)
    numbers = g.bytes * g.scale + g.zero_point
    sums = numbers.sum(0)
    dx = dw = None
    if wanted[0]:
        weight = _signed(w)
        floats = weight.bytes * weight.scale[:, None] + weight.zero_point[:, None]
        if fast:
            fixed, scale = _narrow(floats)
            sums_of_weight = fixed.sum(0).to(scale.dtype) * scale
            dx = _products(g.bytes, fixed) * (g.scale * scale) + g.zero_point * sums_of_weight
        else:
            wide = _wide(floats)
            product = _products(g.bytes, wide.high) * 256 + _products(g.bytes, wide.low)
            dx = product * (g.scale * wide.scale) + g.zero_point * wide.sums()
    if wanted[1]:
        a = _signed(x)
        if error.low.dim():
            wide = _wide(numbers)
            product = (_products(wide.high.t(), a.bytes) * 256 + _products(wide.low.t(), a.bytes)) * wide.scale
            dw = product * a.scale + a.zero_point * wide.sums()[:, None]
        else:
            inputs = a.scale * a.bytes.sum(0).to(a.scale.dtype)
            dw = _products(g.bytes.t(), a.bytes) * (g.scale * a.scale) + a.zero_point * sums[:, None]
            dw = dw + g.zero_point * inputs
    return dx, dw, sums if wanted[2] else None


def _signed(x: Codes, group_rows: int | None = None) -> _Signed:
    scale = x.scale
    centre = int(x.levels + 1) // 2  # makes codes signed bytes
    zero_point = x.low + centre * scale
    if group_rows is not None and scale.dim():
        rows = torch.arange(len(x.codes), device=scale.device) // group_rows % len(scale)
        scale, zero_point = scale[rows, None], zero_point[rows, None]
    return _Signed((x.codes.to(torch.int16) - centre).to(torch.int8), scale, zero_point)


def _wide(numbers: Tensor) -> _Wide:
    tiny = torch.finfo(numbers.dtype).tiny
    scale = (numbers.abs().amax() / WIDE_LEVELS).clamp_min(tiny)
    fixed = (numbers / scale).round().to(torch.int32)
    high = (fixed + 128) >> 8
    return _Wide(high.to(torch.int8), (fixed - (high << 8)).to(torch.int8), scale)


def _narrow(numbers: Tensor) -> tuple[Tensor, Tensor]:
    """In 8-bit fixed point, and the scale of each column."""
    scale = (numbers.abs().amax(0) / NARROW_LEVELS).clamp_min(torch.finfo(numbers.dtype).tiny)
    return (numbers / scale).round().to(torch.int8), scale


def _products(a: Tensor, b: Tensor) -> Tensor:
    """The product of two matrices of bytes, exact in 32 bits, as floats."""
    rows, columns = len(a), b.shape[1]
    if a.is_cuda:
        a, b = _padded(a, rows=17), _padded(b.t(), rows=1).t()
    return torch._int_mm(a.contiguous(), b)[:rows, :columns].to(torch.float32)


def _padded(a: Tensor, rows: int) -> Tensor:
    """With zeros up to multiples of 8, as products on a GPU want them, and at least `rows` rows."""
    target = -(-max(rows, len(a)) // 8) * 8
    return F.pad(a, (0, -a.shape[1] % 8, 0, target - len(a)))
