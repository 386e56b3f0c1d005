"""Products of codes by Triton's kernels, on a GPU: the functions of `native_products`, but for the recurrence.

Own kernels, not torchao's: those multiply symmetric codes of one scale a row, and have neither zero points, 16-bit
operands nor convolutions.
"""

from __future__ import annotations

from torch import Tensor

from cpt_core.quant.integer.codes import Codes
from cpt_core.quant.integer.native_products import Geometry, Gradients, Wanted
from cpt_core.quant.integer.triton_output import input_gradient, output
from cpt_core.quant.integer.triton_planes import Turned, Wide, bias_gradient, signed_rows, turned, wide_turned
from cpt_core.quant.integer.triton_weight import weight_gradient


def linear(x: Codes, w: Codes, bias: Tensor | None) -> Tensor:
    """(rows, n) from x (rows, k) and w (n, k)."""
    geometry = _of_linear(x, w)
    return output(geometry, x, signed_rows(x, geometry.channels), w, signed_rows(w, geometry.channels), bias)


def linear_backward(
    error: Codes,
    group_rows: int,
    x: Codes,
    w: Codes,
    wanted: Wanted,
    *,
    fast: bool = False,  # noqa: ARG001  # as in native_products
) -> Gradients:
    """Gradients of `linear` from the error (rows, n), whose groups of rows take turns, `group_rows` rows each.

    That of the input takes the weight in 16-bit fixed point, `fast` or not.
    """
    dx, dw, dbias = _gradients(_of_linear(x, w), error, group_rows, x, w, wanted)
    return dx, None if dw is None else dw.view(w.codes.shape), dbias


def convolution(geometry: Geometry, x: Codes, w: Codes, bias: Tensor | None) -> Tensor:
    """The convolution of x by w, all channels-last in memory."""
    rows, taps = (_in_memory_order(codes) for codes in (x, w))
    channels = geometry.channels
    y = output(geometry, rows, signed_rows(rows, channels), taps, signed_rows(taps, channels), bias)
    batch, out_channels, height, width = geometry.output_shape()
    return y.view(batch, height, width, out_channels).permute(0, 3, 1, 2)


def convolution_backward(
    geometry: Geometry,
    error: Codes,
    x: Codes,
    w: Codes,
    wanted: Wanted,
    *,
    fast: bool = False,  # noqa: ARG001  # as in native_products
) -> Gradients:
    """Gradients of `convolution` from the error at its output, `fast` as in `linear_backward`."""
    error, x, w = (_in_memory_order(codes) for codes in (error, x, w))
    dx, dw, dbias = _gradients(geometry, error, 1, x, w, wanted)
    if dx is not None:
        dx = dx.view(geometry.batch, geometry.height, geometry.width, geometry.channels).permute(0, 3, 1, 2)
    return dx, None if dw is None else dw.permute(0, 3, 1, 2), dbias


def _gradients(
    geometry: Geometry, error: Codes, group_rows: int, x: Codes, w: Codes, wanted: Wanted
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Of a pixel a row, of the weight as (out_channels, kernel, kernel, channels), and of the bias."""
    of_input, of_weight, of_bias = wanted
    out_channels = geometry.out_channels
    dx = dw = dbias = None
    if of_input:
        rows = signed_rows(error, out_channels).bytes
        weight = wide_turned(w, geometry.kernel**2 * geometry.channels)
        dx = input_gradient(geometry, error, group_rows, rows, weight)
    if of_weight:
        if error.low.dim():
            error_turned: Turned | Wide = wide_turned(error, out_channels, group_rows)
        else:
            error_turned = turned(error, out_channels)
        dw = weight_gradient(geometry, error, error_turned, x, turned(x, geometry.channels))
    if of_bias:
        dbias = bias_gradient(error, out_channels, group_rows)
    return dx, dw, dbias


def _of_linear(x: Codes, w: Codes) -> Geometry:
    """A linear layer as a convolution of images of one pixel."""
    (rows, k), n = x.codes.shape, len(w.codes)
    return Geometry(rows, k, 1, 1, n, 1, 1, 0)


def _in_memory_order(x: Codes) -> Codes:
    """Channels-last as (first dimension, height, width, channels)."""
    return x._replace(codes=x.codes.permute(0, 2, 3, 1))
