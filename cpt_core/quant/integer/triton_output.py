"""The products of a layer's output and of its input's gradient: convolutions as matrix products, without a copy of
their patches (implicit GEMM). A linear layer is a 1x1 convolution of images of one pixel.

Sums over the taps that lie inside the image, of a_scale a + a_zero times b_scale b + b_zero, as

    a_scale b_scale Σ a b + a_scale b_zero Σ a + a_zero b_scale Σ b + a_zero b_zero terms

of which the first runs on tensor cores. The others need the sums of a pixel's and of a tap's bytes alone.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from cpt_core.quant.integer.codes import Codes
from cpt_core.quant.integer.native_products import Geometry
from cpt_core.quant.integer.triton_planes import Rows, Wide, centred
from cpt_core.quant.integer.triton_tuning import CHUNK, tuned

_CHUNK = tl.constexpr(CHUNK)


@triton.jit
def _source(image, y, x, tap, height, width, kernel, stride, padding, BACKWARD: tl.constexpr):
    """The pixel of the images (height, width) that meets a tap at (y, x), and whether there is one."""
    if BACKWARD:
        y, x = y + padding - tap // kernel, x + padding - tap % kernel
        there = (y >= 0) & (x >= 0) & (y % stride == 0) & (x % stride == 0)
        y, x = y // stride, x // stride
    else:
        y, x = y * stride - padding + tap // kernel, x * stride - padding + tap % kernel
        there = (y >= 0) & (x >= 0)
    there = there & (y < height) & (x < width)
    return tl.where(there, (image * height + y) * width + x, 0), there


@tuned(["rows", "columns", "depth", "kernel"], ("rows", "columns", "depth"))
@triton.jit(do_not_specialize=["groups", "group_rows", "height", "width", "out_height", "out_width", "padding"])
def _gathered(
    a_at, a_sums_at, a_low_at, a_span_at, a_levels_at, groups, group_rows,
    b_at, b_rest_at, b_sums_at, b_low_at, b_span_at, b_levels_at, b_row, b_tap, sums_row, sums_tap,
    bias_at, out_at,
    rows, columns, depth, height, width, out_height, out_width, kernel, stride, padding,
    BACKWARD: tl.constexpr, BIAS: tl.constexpr, POINTWISE: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """A tile of `out`, (rows, columns).

    BACKWARD: b is 16-bit fixed point, of the scale at `b_span_at`. POINTWISE: each pixel meets itself alone.
    """
    column_blocks = tl.cdiv(columns, BLOCK_N)
    row = tl.program_id(0) // column_blocks * BLOCK_M + tl.arange(0, BLOCK_M)
    column = tl.program_id(0) % column_blocks * BLOCK_N + tl.arange(0, BLOCK_N)
    row_inside, column_inside = row < rows, column < columns
    image, y, x = row // (out_height * out_width), row // out_width % out_height, row % out_width
    depth_blocks = tl.cdiv(depth, BLOCK_K)
    steps = kernel * kernel * depth_blocks
    total = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    for first in range(0, steps, _CHUNK // BLOCK_K):
        acc = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.int32)
        rest = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.int32)
        for step in range(first, tl.minimum(first + _CHUNK // BLOCK_K, steps)):
            tap, k = step // depth_blocks, step % depth_blocks * BLOCK_K + tl.arange(0, BLOCK_K)
            if POINTWISE:
                pixel, there = row, row_inside
            else:
                pixel, there = _source(image, y, x, tap, height, width, kernel, stride, padding, BACKWARD)
            a_inside = (there & row_inside)[:, None] & (k < depth)[None, :]
            a = tl.load(a_at + pixel.to(tl.int64)[:, None] * depth + k[None, :], mask=a_inside, other=0)
            b_inside = column_inside[:, None] & (k < depth)[None, :]
            b_index = column.to(tl.int64)[:, None] * b_row + tap * b_tap + k[None, :]
            acc = tl.dot(a, tl.trans(tl.load(b_at + b_index, mask=b_inside, other=0)), acc, out_dtype=tl.int32)
            if BACKWARD:
                b = tl.load(b_rest_at + b_index, mask=b_inside, other=0)
                rest = tl.dot(a, tl.trans(b), rest, out_dtype=tl.int32)
        if BACKWARD:
            total += acc.to(tl.float32) * 256.0 + rest.to(tl.float32)
        else:
            total += acc.to(tl.float32)

    group = row // group_rows % groups
    a_low = tl.load(a_low_at + group, mask=row_inside, other=0.0)
    a_span = tl.load(a_span_at + group, mask=row_inside, other=0.0)
    a_scale, a_zero = centred(a_low, a_span, tl.load(a_levels_at))
    a_sums = tl.zeros((BLOCK_M,), dtype=tl.float32)
    b_sums = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    terms = tl.zeros((BLOCK_M,), dtype=tl.float32)
    for tap in range(kernel * kernel):
        if POINTWISE:
            pixel, there = row, row_inside
        else:
            pixel, there = _source(image, y, x, tap, height, width, kernel, stride, padding, BACKWARD)
        of_tap = tl.load(b_sums_at + column * sums_row + tap * sums_tap, mask=column_inside, other=0).to(tl.float32)
        b_sums += tl.where(there[:, None], of_tap[None, :], 0.0)
        if not BACKWARD:
            a_sums += tl.load(a_sums_at + pixel, mask=there & row_inside, other=0).to(tl.float32)
            terms += tl.where(there, 1.0, 0.0)
    if BACKWARD:
        b_scale = tl.load(b_span_at)
        out = (a_scale[:, None] * total + a_zero[:, None] * b_sums) * b_scale
    else:
        b_low = tl.load(b_low_at + column, mask=column_inside, other=0.0)
        b_span = tl.load(b_span_at + column, mask=column_inside, other=0.0)
        b_scale, b_zero = centred(b_low, b_span, tl.load(b_levels_at))
        out = (a_scale[:, None] * total + a_zero[:, None] * b_sums) * b_scale[None, :]
        out += (a_scale * a_sums + a_zero * (terms * depth))[:, None] * b_zero[None, :]
    if BIAS:
        out += tl.load(bias_at + column, mask=column_inside, other=0.0)[None, :]
    to = row.to(tl.int64)[:, None] * columns + column[None, :]
    tl.store(out_at + to, out, mask=row_inside[:, None] & column_inside[None, :])


def output(geometry: Geometry, x: Codes, x_rows: Rows, w: Codes, w_rows: Rows, bias: Tensor | None) -> Tensor:
    """(batch x height x width, out_channels); `x_rows` is a row a pixel, `w_rows` a row an output channel and tap."""
    batch, out_channels, out_height, out_width = geometry.output_shape()
    taps, depth = geometry.kernel**2, geometry.channels
    y = torch.empty((batch * out_height * out_width, out_channels), dtype=torch.float32, device=x.codes.device)
    _launch(
        y, x, 1, x_rows.sums, x_rows.bytes,
        (w_rows.bytes, w_rows.bytes, w_rows.sums, w.low, w.span, w.levels, taps * depth, depth, taps, 1),
        bias, depth, (geometry.height, geometry.width, out_height, out_width), geometry, backward=False,
    )  # fmt: skip
    return y


def input_gradient(geometry: Geometry, error: Codes, group_rows: int, error_bytes: Tensor, w: Wide) -> Tensor:
    """(batch x height x width, channels) from the error, a row a pixel, and the weight, (tap, channel, output)."""
    batch, out_channels, out_height, out_width = geometry.output_shape()
    channels = geometry.channels
    dx = torch.empty((batch * geometry.height * geometry.width, channels), dtype=torch.float32, device=w.high.device)
    _launch(
        dx, error, group_rows, error_bytes, error_bytes,
        (w.high, w.low, w.sums, w.scale, w.scale, error.levels, out_channels, channels * out_channels, 1, channels),
        None, out_channels, (out_height, out_width, geometry.height, geometry.width), geometry, backward=True,
    )  # fmt: skip
    return dx


def _launch(
    out: Tensor,
    a: Codes,
    group_rows: int,
    a_sums: Tensor,
    a_bytes: Tensor,
    b: tuple[Any, ...],
    bias: Tensor | None,
    depth: int,
    sizes: tuple[int, int, int, int],
    geometry: Geometry,
    *,
    backward: bool,
) -> None:
    rows, columns = out.shape
    _gathered[lambda tile: (triton.cdiv(rows, tile["BLOCK_M"]) * triton.cdiv(columns, tile["BLOCK_N"]),)](
        a_bytes, a_sums, a.low, a.span, a.levels, a.low.numel(), group_rows, *b,
        out if bias is None else bias, out, rows, columns, depth, *sizes, geometry.kernel, geometry.stride,
        geometry.padding, BACKWARD=backward, BIAS=bias is not None, POINTWISE=geometry[5:] == (1, 1, 0),
    )  # fmt: skip
