"""The gradient of a layer's weight: for each tap the product of the errors with the inputs that met it.

The sum runs over the pixels of a batch, so operands come turned, (channels, pixels). What the zero points add needs
sums of errors and inputs over the pixels at which a tap lies inside the image; they follow from sums over the batch.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import triton
import triton.language as tl
from torch import Tensor

from cpt_core.quant.integer.codes import Codes
from cpt_core.quant.integer.native_products import Geometry
from cpt_core.quant.integer.triton_planes import Turned, Wide, centred
from cpt_core.quant.integer.triton_tuning import CHUNK, tuned

PROGRAMS, MIN_PIXELS = 264, 1024
"""The pixels are split until there are as many programs, two for each of an H100's processors, but not into less."""

ASSUMED_TILE = 64
"""Side of the tiles when the number of programs is reckoned: it must not depend on tuning, as the split sets the order
of a sum of floats."""


@triton.jit(do_not_specialize=["height", "width", "out_height", "out_width", "padding"])
def _over_pixels(
    g_at, g_rest_at, g_sums_at, g_low_at, g_span_at, g_levels_at,
    x_at, x_sums_at, x_low_at, x_span_at, x_levels_at, terms_at, out_at,
    out_channels, channels, pixels, height, width, out_height, out_width, kernel, stride, padding, share,
    WIDE: tl.constexpr, POINTWISE: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """A tile of one tap of `out`, (splits, out_channels, taps, channels), from the pixels of one split.

    WIDE: g is 16-bit fixed point, of the scale at `g_span_at`. POINTWISE: each pixel meets itself alone.
    """
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
        if POINTWISE:
            there, source = pixel < pixels, pixel
        else:
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
    x_scale, x_zero = centred(tl.load(x_low_at), tl.load(x_span_at), tl.load(x_levels_at))
    if WIDE:
        total = total * 256.0 + rest.to(tl.float32)
        g_scale, g_zero = tl.load(g_span_at), 0.0
    else:
        g_scale, g_zero = centred(tl.load(g_low_at), tl.load(g_span_at), tl.load(g_levels_at))
    out = total * x_scale * g_scale
    if split == 0:
        g_sums = tl.load(g_sums_at + row * taps + tap, mask=row_inside, other=0).to(tl.float32)
        x_sums = tl.load(x_sums_at + column * taps + tap, mask=column_inside, other=0).to(tl.float32)
        terms = tl.load(terms_at + tap).to(tl.float32)
        out += (g_scale * g_sums * x_zero)[:, None]
        out += (g_zero * (x_scale * x_sums + x_zero * terms))[None, :]
    to = ((split * out_channels + row.to(tl.int64))[:, None] * taps + tap) * channels + column[None, :]
    tl.store(out_at + to, out, mask=row_inside[:, None] & column_inside[None, :])


_tuned_over_pixels = tuned(["out_channels", "channels", "share", "kernel"], ("out_channels", "channels", "share"))(
    _over_pixels
)


def weight_gradient(
    geometry: Geometry, error: Codes, error_turned: Turned | Wide, x: Codes, x_turned: Turned
) -> Tensor:
    """(out_channels, kernel, kernel, channels).

    Args:
        geometry: of the convolution.
        error: codes at its output, a row a pixel.
        error_turned: the same with pixels side by side; in 16-bit fixed point if the error has several ranges.
        x: codes of the input, a row a pixel.
        x_turned: the same with pixels side by side.
    """
    batch, out_channels, out_height, out_width = geometry.output_shape()
    channels, taps, pixels = geometry.channels, geometry.kernel**2, batch * out_height * out_width
    pointwise = geometry[5:] == (1, 1, 0)
    if pointwise:
        g_sums, x_sums = error_turned.sums, x_turned.sums
        terms = _constant(pixels, x.codes.device)
    else:
        at_output, at_input, places = _there(geometry._replace(batch=1), x.codes.device)
        g_sums, x_sums = _met_sums(error, at_output, batch), _met_sums(x, at_input, batch)
        terms = places * batch
    share = _share(pixels, taps * triton.cdiv(out_channels, ASSUMED_TILE) * triton.cdiv(channels, ASSUMED_TILE))
    splits = triton.cdiv(pixels, share)
    dw = torch.empty((splits, out_channels, taps, channels), dtype=torch.float32, device=x.codes.device)

    def grid(tile: dict[str, int]) -> tuple[int, int]:
        return taps * triton.cdiv(out_channels, tile["BLOCK_M"]) * triton.cdiv(channels, tile["BLOCK_N"]), splits

    if isinstance(error_turned, Wide):
        high, rest, span = error_turned.high, error_turned.low, error_turned.scale
    else:
        high, rest, span = error_turned.bytes, error_turned.bytes, error.span
    _tuned_over_pixels[grid](
        high, rest, g_sums, error.low, span, error.levels, x_turned.bytes, x_sums, x.low, x.span, x.levels, terms, dw,
        out_channels, channels, pixels, geometry.height, geometry.width, out_height, out_width, geometry.kernel,
        geometry.stride, geometry.padding, share, WIDE=isinstance(error_turned, Wide), POINTWISE=pointwise,
    )  # fmt: skip
    dw = dw[0] if splits == 1 else dw.sum(0)
    return dw.view(out_channels, geometry.kernel, geometry.kernel, channels)


def _met_sums(x: Codes, there: Tensor, batch: int) -> Tensor:
    """The sums of signed bytes over a batch and the pixels that meet each tap, (channels, taps), float64.

    Args:
        x: codes, a row a pixel.
        there: (pixels of an image, taps).
        batch: images.
    """
    sums = x.codes.view(batch, len(there), -1).sum(0, dtype=torch.float64) - (x.levels + 1) // 2 * batch
    return sums.t() @ there


@lru_cache(maxsize=256)
def _constant(number: int, device: torch.device) -> Tensor:
    return torch.tensor([number], device=device)


def _share(pixels: int, tiles: int) -> int:
    """Pixels of a split: whole blocks, and so few that their sum fits into 32 bits."""
    wanted = max(-(-pixels // max(1, PROGRAMS // tiles)), MIN_PIXELS)
    return min(CHUNK, -(-wanted // 128) * 128)


@lru_cache(maxsize=256)
def _there(geometry: Geometry, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Whether each tap lies inside the image: (output pixels, taps), the input pixels that meet it, and how many do;
    float64."""
    _, _, out_height, out_width = geometry.output_shape()
    rows, columns = (
        torch.stack([_met(size, out, tap, geometry) for tap in range(geometry.kernel)])
        for size, out in ((geometry.height, out_height), (geometry.width, out_width))
    )
    # (taps down, y, taps across, x) for outputs and for inputs.
    pairs = [torch.einsum("ay,bx->yxab", rows.sum(other), columns.sum(other)) for other in (2, 1)]
    at_output, at_input = (pair.reshape(-1, geometry.kernel**2).to(device, torch.float64) for pair in pairs)
    return at_output, at_input, at_output.sum(0)


def _met(size: int, out: int, tap: int, geometry: Geometry) -> Tensor:
    """1 where an output place (first dimension) meets an input place through a tap of one axis."""
    met = torch.arange(out)[:, None] * geometry.stride - geometry.padding + tap
    return (met == torch.arange(size)).to(torch.int64)
