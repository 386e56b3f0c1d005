"""The gradient of a layer's weight: for each tap the product of the errors with the inputs that met it.

The sum runs over the pixels of a batch, so operands come turned, (channels, pixels). What the zero points add needs
sums of errors and inputs over the pixels at which a tap lies inside the image; they follow from sums over the batch.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from cpt_core.quant.integer.codes import Codes
from cpt_core.quant.integer.native_products import Geometry
from cpt_core.quant.integer.triton_tuning import CHUNK, tuned

PROGRAMS, MIN_PIXELS = 264, 1024
"""The pixels are split until there are as many programs, two for each of an H100's processors, but not into less."""

ASSUMED_TILE = 64
"""Side of the tiles when the number of programs is reckoned: it must not depend on tuning, as the split sets the order
of a sum of floats."""


class Error(NamedTuple):
    """The error at a layer's output, turned: `(high * 256 + rest) * scale + zero_point`, or without `rest`."""

    high: Tensor
    rest: Tensor | None
    scale: Tensor
    """0-d."""
    zero_point: Tensor
    """0-d."""


@triton.jit
def _over_pixels(
    g_at, g_rest_at, g_sums_at, g_scale_at, g_zero_at, x_at, x_sums_at, x_scale_at, x_zero_at, terms_at, out_at,
    out_channels, channels, pixels, height, width, out_height, out_width, kernel, stride, padding, share,
    WIDE: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """A tile of one tap of `out`, (splits, out_channels, taps, channels), from the pixels of one split."""
    taps, blocks, split = kernel * kernel, tl.cdiv(channels, BLOCK_N), tl.program_id(1)
    tap, block = tl.program_id(0) % taps, tl.program_id(0) // taps
    row = block // blocks * BLOCK_M + tl.arange(0, BLOCK_M)
    column = block % blocks * BLOCK_N + tl.arange(0, BLOCK_N)
    row_inside, column_inside = row < out_channels, column < channels
    in_pixels = pixels // (out_height * out_width) * height * width
    acc = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.int32)
    rest = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.int32)
    for first in range(split * share, tl.minimum((split + 1) * share, pixels), BLOCK_K):
        pixel = first + tl.arange(0, BLOCK_K)
        y = pixel // out_width % out_height * stride - padding + tap // kernel
        x = pixel % out_width * stride - padding + tap % kernel
        there = (pixel < pixels) & (y >= 0) & (y < height) & (x >= 0) & (x < width)
        source = tl.where(there, (pixel // (out_height * out_width) * height + y) * width + x, 0)
        g_index, g_inside = row.to(tl.int64)[:, None] * pixels + pixel[None, :], row_inside[:, None] & there[None, :]
        x_index = column.to(tl.int64)[:, None] * in_pixels + source[None, :]
        met = tl.trans(tl.load(x_at + x_index, mask=column_inside[:, None] & there[None, :], other=0))
        acc = tl.dot(tl.load(g_at + g_index, mask=g_inside, other=0), met, acc, out_dtype=tl.int32)
        if WIDE:
            rest = tl.dot(tl.load(g_rest_at + g_index, mask=g_inside, other=0), met, rest, out_dtype=tl.int32)
    total = acc.to(tl.float32)
    if WIDE:
        total = total * 256.0 + rest.to(tl.float32)
    g_scale, x_scale = tl.load(g_scale_at), tl.load(x_scale_at)
    out = total * x_scale * g_scale
    if split == 0:
        g_zero, x_zero = tl.load(g_zero_at), tl.load(x_zero_at)
        g_sums = tl.load(g_sums_at + row * taps + tap, mask=row_inside, other=0.0)
        x_sums = tl.load(x_sums_at + column * taps + tap, mask=column_inside, other=0.0)
        out += (g_scale * g_sums * x_zero)[:, None]
        out += (g_zero * (x_scale * x_sums + x_zero * tl.load(terms_at + tap)))[None, :]
    to = ((split * out_channels + row.to(tl.int64))[:, None] * taps + tap) * channels + column[None, :]
    tl.store(out_at + to, out, mask=row_inside[:, None] & column_inside[None, :])


_tuned_over_pixels = tuned(["out_channels", "channels", "share", "kernel"], ("out_channels", "channels", "share"))(
    _over_pixels
)


def weight_gradient(geometry: Geometry, error: Error, error_sums: Tensor, x: Codes, x_turned: Tensor) -> Tensor:
    """(out_channels, kernel, kernel, channels).

    Args:
        geometry: of the convolution.
        error: at its output.
        error_sums: of the error's bytes over the batch, (pixels of an image, out_channels), float64.
        x: codes of the input, a row a pixel.
        x_turned: the same as signed bytes, (channels, pixels).
    """
    batch, out_channels, out_height, out_width = geometry.output_shape()
    channels, taps, pixels = geometry.channels, geometry.kernel**2, batch * out_height * out_width
    centre = (x.levels + 1) // 2
    x_sums = x.codes.view(batch, -1, channels).sum(0, dtype=torch.int64) - centre * batch
    at_output, at_input = _there(geometry._replace(batch=1), x_sums.device)
    g_sums = (error_sums.t() @ at_output).to(torch.float32)
    met_sums = (x_sums.to(torch.float64).t() @ at_input).to(torch.float32)
    terms = (at_output.sum(0) * batch).to(torch.float32)
    share = _share(pixels, taps * triton.cdiv(out_channels, ASSUMED_TILE) * triton.cdiv(channels, ASSUMED_TILE))
    splits = triton.cdiv(pixels, share)
    dw = torch.empty((splits, out_channels, taps, channels), dtype=torch.float32, device=x_turned.device)

    def grid(tile: dict[str, int]) -> tuple[int, int]:
        return taps * triton.cdiv(out_channels, tile["BLOCK_M"]) * triton.cdiv(channels, tile["BLOCK_N"]), splits

    _tuned_over_pixels[grid](
        error.high, error.high if error.rest is None else error.rest, g_sums, error.scale, error.zero_point,
        x_turned, met_sums, x.scale, x.low + centre * x.scale, terms, dw,
        out_channels, channels, pixels, geometry.height, geometry.width, out_height, out_width,
        geometry.kernel, geometry.stride, geometry.padding, share, WIDE=error.rest is not None,
    )  # fmt: skip
    return dw.sum(0).view(out_channels, geometry.kernel, geometry.kernel, channels)


def _share(pixels: int, tiles: int) -> int:
    """Pixels of a split: whole blocks, and so few that their sum fits into 32 bits."""
    wanted = max(-(-pixels // max(1, PROGRAMS // tiles)), MIN_PIXELS)
    return min(CHUNK, -(-wanted // 128) * 128)


@lru_cache(maxsize=256)
def _there(geometry: Geometry, device: torch.device) -> tuple[Tensor, Tensor]:
    """Whether each tap lies inside the image: (output pixels, taps), and the input pixels that meet it; float64."""
    _, _, out_height, out_width = geometry.output_shape()
    rows, columns = (
        torch.stack([_met(size, out, tap, geometry) for tap in range(geometry.kernel)])
        for size, out in ((geometry.height, out_height), (geometry.width, out_width))
    )
    # (taps down, y, taps across, x) for outputs and for inputs.
    pairs = [torch.einsum("ay,bx->yxab", rows.sum(other), columns.sum(other)) for other in (2, 1)]
    at_output, at_input = (pair.reshape(-1, geometry.kernel**2).to(device, torch.float64) for pair in pairs)
    return at_output, at_input


def _met(size: int, out: int, tap: int, geometry: Geometry) -> Tensor:
    """1 where an output place (first dimension) meets an input place through a tap of one axis."""
    met = torch.arange(out)[:, None] * geometry.stride - geometry.padding + tap
    return (met == torch.arange(size)).to(torch.int64)
