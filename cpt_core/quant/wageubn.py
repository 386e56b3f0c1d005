"""The WAGEUBN quantiser (Yang et al., "Training high-performance ... with full 8-bit integers", arXiv 1909.02384).

    Q(x)          = rint(x 2^(bits-1)) / 2^(bits-1)                            direct quantisation, a fixed grid
    weights       = clip(Q(w), -1 + d, 1 - d),   d = 2^(1-bits)
    activations   = Q(x)
    errors        = R clip(Q(g / R), -1 + d, 1 - d),   R = 2^rint(log2(max |g|))   shift quantisation

What the paper quantises beyond the products of layers (batch norm, momentum, the update) is in full precision here, as
with the other schemes. Zero is on the grid of the errors, which are rounded to nearest.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cpt_core.quant import noise
from cpt_core.quant.bit_widths import FULL_PRECISION, levels_tensor
from cpt_core.quant.quantizer import Quantizer
from cpt_core.quant.straight_through import straight_through


def quantize_weight(w: Tensor, bits: int) -> Tensor:
    """The rounded and clipped weight, of any shape. Gradients pass straight through.

    `bits` is 2 to 16; 0 and 32 return `w`.

    Raises:
        ValueError: another number of bits.
    """
    return w if bits in FULL_PRECISION else weight(w, levels_tensor(bits, w))


def quantize_activation(x: Tensor, bits: int) -> Tensor:
    """The rounded input, of any shape. Gradients pass straight through.

    `bits` is 2 to 16; 0 and 32 return `x`.

    Raises:
        ValueError: another number of bits.
    """
    return x if bits in FULL_PRECISION else straight_through(_direct, x, levels_tensor(bits, x))


def quantize_gradient(
    g: Tensor, bits: int, *, stochastic: bool = False, generator: torch.Generator | None = None
) -> Tensor:
    """The rounded error, of any shape, with one power of two as the range of the whole tensor.

    Args:
        g: any floating shape.
        bits: 2 to 16; 0 and 32 return `g`.
        stochastic: add U(-1/2, 1/2) before rounding, which the paper does not.
        generator: where the seed of the noise is drawn from; torch's global generator by default.

    Raises:
        ValueError: another number of bits.
    """
    if bits in FULL_PRECISION:
        return g
    return gradient(g, levels_tensor(bits, g), noise.drawn_seed(g, generator) if stochastic else None)


def weight(w: Tensor, levels: Tensor) -> Tensor:
    """As `quantize_weight`, with the levels as a 0-d tensor."""
    return straight_through(_direct_clipped, w, levels)


def activation(x: Tensor, levels: Tensor, _zero_point: Tensor, _span: Tensor) -> Tensor:
    """As `quantize_activation`, with the levels as a 0-d tensor. The observed range plays no part."""
    return straight_through(_direct, x, levels)


def gradient(g: Tensor, levels: Tensor, seed: Tensor | None) -> Tensor:
    """As `quantize_gradient`, with the levels as a 0-d tensor and the seed of the noise, if any, given."""
    if g.numel() == 0:
        return g
    scale = g.abs().amax().clamp_min(torch.finfo(g.dtype).tiny).log2().round_().exp2()
    return _direct_clipped(g / scale, levels, None if seed is None else noise.uniform(g, seed)).mul_(scale)


def _direct(x: Tensor, levels: Tensor) -> Tensor:
    steps = _steps_per_unit(levels)
    return (x * steps).round_().div_(steps)


def _direct_clipped(x: Tensor, levels: Tensor, rounding: Tensor | None = None) -> Tensor:
    steps = _steps_per_unit(levels)
    codes = x * steps
    if rounding is not None:
        codes.add_(rounding)
    return codes.round_().clamp_min_(1 - steps).clamp_max_(steps - 1).div_(steps)


def _steps_per_unit(levels: Tensor) -> Tensor:
    # (2^bits - 1 + 1) / 2 = 2^(bits - 1)
    return (levels + 1) // 2


QUANTIZER = Quantizer(weight, activation, gradient, stochastic_gradient=False, first_layer=True)
