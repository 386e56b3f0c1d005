"""Products of codes by the C++ functions (`linear.cpp`, `convolution.cpp`), on the CPU."""

from __future__ import annotations

import ctypes
import weakref
from typing import NamedTuple

import torch
from torch import Tensor

from cpt_core.quant.integer.codes import Codes
from cpt_core.quant.native import at, functions, positions

Wanted = tuple[bool, bool, bool]
"""Which gradients are: of the input, the weight, the bias."""
Gradients = tuple[Tensor | None, Tensor | None, Tensor | None]


class Geometry(NamedTuple):
    """Sizes of a 2-d convolution with a square kernel, in the order of the C++ functions."""

    batch: int
    channels: int
    height: int
    width: int
    out_channels: int
    kernel: int
    stride: int
    padding: int

    def output_shape(self) -> tuple[int, int, int, int]:
        """(batch, out_channels, height, width)."""
        height, width = (positions(size, self.kernel, self.stride, self.padding) for size in (self.height, self.width))
        return self.batch, self.out_channels, height, width


def linear(x: Codes, w: Codes, bias: Tensor | None) -> Tensor:
    """(rows, n) from x (rows, k) and w (n, k)."""
    (rows, k), n = x.codes.shape, len(w.codes)
    y = _floats(rows, n)
    functions().cpt_linear(*_input(x), *_weight(w), at(bias), at(y), rows, k, n)
    return y


def linear_backward(
    error: Codes, group_rows: int, x: Codes, w: Codes, wanted: Wanted, *, fast: bool = False
) -> Gradients:
    """Gradients of `linear` from the error (rows, n), whose groups of rows take turns, `group_rows` rows each.

    If `fast`, that of the input takes the weight in 8-bit fixed point.
    """
    (rows, k), n = x.codes.shape, len(w.codes)
    gradients = _gradients(wanted, _floats(rows, k), _floats(n, k), n)
    functions().cpt_linear_backward(
        *map(at, error),
        error.low.numel(),
        group_rows,
        *_input(x),
        *_weight(w),
        fast,
        *map(at, gradients),
        rows,
        k,
        n,
    )
    return gradients


class KeptWeight:
    """A weight (n, k) that is laid out once for many products, with inputs or with errors."""

    def __init__(self, w: Codes, *, backward: bool, fast: bool = False) -> None:
        """Lay it out for `linear`, or, if `backward`, for `input_gradient`, if `fast` in 8-bit fixed point."""
        self._n, self._k = w.codes.shape
        self._at = functions().cpt_keep_weight(*_weight(w), self._n, self._k, backward, fast)
        weakref.finalize(self, functions().cpt_free_weight, self._at)

    def linear(self, x: Codes) -> Tensor:
        """(rows, n) from x (rows, k)."""
        rows = len(x.codes)
        y = _floats(rows, self._n)
        functions().cpt_linear_kept(self._at, *_input(x), at(x.levels), at(y), rows, self._k)
        return y

    def input_gradient(self, error: Codes) -> Tensor:
        """(rows, k) from the error (rows, n), each row of which has a range of its own."""
        rows = len(error.codes)
        dx = _floats(rows, self._k)
        functions().cpt_input_gradient_kept(self._at, *map(at, error), at(dx), rows, self._n)
        return dx


def convolution(geometry: Geometry, x: Codes, w: Codes, bias: Tensor | None) -> Tensor:
    """The convolution of x by w, all channels-last in memory."""
    y = torch.empty(geometry.output_shape(), dtype=torch.float32, memory_format=torch.channels_last)
    functions().cpt_convolution(_sizes(geometry), *_input(x), *_weight(w), at(bias), at(y))
    return y


def convolution_backward(
    geometry: Geometry, error: Codes, x: Codes, w: Codes, wanted: Wanted, *, fast: bool = False
) -> Gradients:
    """Gradients of `convolution` from the error at its output, `fast` as in `linear_backward`."""
    dx, dw = (torch.empty_like(codes, dtype=torch.float32) for codes in (x.codes, w.codes))
    gradients = _gradients(wanted, dx, dw, geometry.out_channels)
    functions().cpt_convolution_backward(
        _sizes(geometry), *map(at, error), *_input(x), *_weight(w), fast, *map(at, gradients)
    )
    return gradients


def _floats(*shape: int) -> Tensor:
    return torch.empty(shape, dtype=torch.float32)  # whatever torch's default is


def _gradients(wanted: Wanted, dx: Tensor, dw: Tensor, n: int) -> Gradients:
    return dx if wanted[0] else None, dw if wanted[1] else None, _floats(n) if wanted[2] else None


def _sizes(geometry: Geometry) -> ctypes.Array[ctypes.c_int64]:
    return (ctypes.c_int64 * len(geometry))(*geometry)


def _input(x: Codes) -> tuple[int | None, ...]:
    return at(x.codes), at(x.low), at(x.span)


def _weight(w: Codes) -> tuple[int | None, ...]:
    """With the levels, which it shares with the input."""
    return at(w.codes), at(w.low), at(w.span), at(w.levels)
