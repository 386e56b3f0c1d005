"""The SBM quantiser (Banner et al., "Scalable methods for 8-bit training", 2018): affine, min to max, unsigned.

    scale = max((max - min) / (2^bits - 1), 1e-8)
    q     = rint(clamp((x - min) / scale, 0, 2^bits - 1)) * scale + min

Weights have one range per output channel, activations one per tensor, errors one per tensor (one per row for 3-d) and
stochastic rounding. The order of operations is the reference's, so results are equal bit for bit.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cpt_core.quant import native, noise
from cpt_core.quant.bit_widths import FULL_PRECISION, levels_tensor
from cpt_core.quant.quantizer import Quantizer
from cpt_core.quant.straight_through import straight_through

MIN_SCALE = 1e-8


def quantize_weight(w: Tensor, bits: int) -> Tensor:
    """Round a weight, to nearest, with one range per index of the first dimension (a 1-d tensor has one in all).

    Args:
        w: any floating shape, output channels first. An empty tensor is returned as it is.
        bits: 2 to 16; 0 and 32 return `w`.

    Returns:
        The values on the grid, of the shape and type of `w`. Gradients pass straight through.

    Raises:
        ValueError: another number of bits.
    """
    if bits in FULL_PRECISION:
        return w
    return weight(w, levels_tensor(bits, w))


def quantize_activation(x: Tensor, bits: int) -> Tensor:
    """Round a tensor, to nearest, with one range over all its elements.

    Args:
        x: any floating shape. An empty tensor is returned as it is.
        bits: 2 to 16; 0 and 32 return `x`.

    Returns:
        The values on the grid, of the shape and type of `x`. Gradients pass straight through.

    Raises:
        ValueError: another number of bits.
    """
    if bits in FULL_PRECISION:
        return x
    return activation(x, levels_tensor(bits, x), *tensor_range(x))


def quantize_gradient(
    g: Tensor, bits: int, *, stochastic: bool = True, generator: torch.Generator | None = None
) -> Tensor:
    """Round the error at a layer's output.

    Args:
        g: any floating shape. A 3-d tensor (time, batch, features) has one range per batch row, that is per index of
            its second dimension; any other has one range. An empty tensor is returned as it is.
        bits: 2 to 16; 0 and 32 return `g`.
        stochastic: add U(-1/2, 1/2) before rounding, so that the result is unbiased; else round to nearest.
        generator: where the seed of the noise is drawn from; torch's global generator by default.

    Raises:
        ValueError: another number of bits.
    """
    if bits in FULL_PRECISION:
        return g
    return gradient(g, levels_tensor(bits, g), noise.drawn_seed(g, generator) if stochastic else None)


def weight(w: Tensor, levels: Tensor) -> Tensor:
    """As `quantize_weight`, with the levels as a 0-d tensor."""
    return straight_through(_round_weight, w, levels)


def activation(x: Tensor, levels: Tensor, zero_point: Tensor, span: Tensor) -> Tensor:
    """As `quantize_activation`, with the levels, the minimum and the range given, all 0-d tensors."""
    return straight_through(_affine, x, zero_point, span, levels)


def gradient(g: Tensor, levels: Tensor, seed: Tensor | None) -> Tensor:
    """As `quantize_gradient`, with the levels as a 0-d tensor and the seed of the noise given (None: to nearest)."""
    if g.dim() != 3 or g.numel() == 0:
        return _affine(g, *tensor_range(g), levels, seed)
    if len(g) == 1 and native.takes(g):
        return native.round_rows(g, g.shape[1], levels, seed)
    low, high = g.amin((0, 2), keepdim=True), g.amax((0, 2), keepdim=True)
    return _affine(g, low, high - low, levels, seed)


@torch.no_grad()
def tensor_range(x: Tensor) -> tuple[Tensor, Tensor]:
    """Minimum and range (maximum - minimum) over all elements, both 0-d; zeros where there are none.

    NaN in `x`, infinity, or a range that overflows makes the range NaN or infinite.
    """
    if x.numel() == 0:
        return x.new_zeros(()), x.new_zeros(())
    if native.takes(x):
        return native.tensor_range(x)
    low, high = torch.aminmax(noise.memory_order(x))
    return low, high - low


def _round_weight(w: Tensor, levels: Tensor) -> Tensor:
    if w.dim() < 2 or w.numel() == 0:
        return _affine(w, *tensor_range(w), levels)
    if native.takes(w):
        return native.round_rows(w, len(w), levels)
    low, high = torch.aminmax(w.flatten(1), dim=1)
    per_channel = (-1,) + (1,) * (w.dim() - 1)
    return _affine(w, low.view(per_channel), (high - low).view(per_channel), levels)


def _affine(x: Tensor, zero_point: Tensor, span: Tensor, levels: Tensor, seed: Tensor | None = None) -> Tensor:
    if zero_point.dim() == 0 and native.takes(x):
        return native.round_affine(x, zero_point, span, levels, seed)
    scale = (span / levels).clamp_min_(MIN_SCALE)
    q = (x - zero_point).div_(scale)
    if seed is not None:
        q.add_(noise.uniform(x, seed))
    # Two clamps with one bound each: one clamp with a tensor bound is slower than both.
    return q.clamp_min_(0).clamp_max_(levels).round_().mul_(scale).add_(zero_point)


QUANTIZER = Quantizer(weight, activation, gradient, stochastic_gradient=True, first_layer=True)
