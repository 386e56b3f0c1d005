"""The DoReFa quantiser (Zhou et al., "DoReFa-Net", arXiv 1606.06160), for more than one bit.

    quantize(r)   = rint((2^bits - 1) r) / (2^bits - 1)                              for r in [0, 1]; straight through
    weights       = 2 quantize(tanh(w) / (2 max |tanh(w)|) + 1/2) - 1                 (equation 9)
    activations   = quantize(clip(x, 0, 1))                                           (equation 11)
    errors        = 2 max |g| (quantize(g / (2 max |g|) + 1/2 + noise) - 1/2)         (equation 12)

The maximum is over the whole weight, and over each sample of the errors; the noise is U(-1/2, 1/2) / (2^bits - 1).
The clip needs inputs that are not negative: the paper leaves the first and the last layer in full precision.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cpt_core.quant import noise
from cpt_core.quant.bit_widths import FULL_PRECISION, levels_tensor
from cpt_core.quant.quantizer import Quantizer
from cpt_core.quant.straight_through import straight_through


def quantize_weight(w: Tensor, bits: int) -> Tensor:
    """The rounded weight, in [-1, 1], of any shape; differentiable, through tanh and its maximum too.

    `bits` is 2 to 16; 0 and 32 return `w`.

    Raises:
        ValueError: another number of bits.
    """
    return w if bits in FULL_PRECISION else weight(w, levels_tensor(bits, w))


def quantize_activation(x: Tensor, bits: int) -> Tensor:
    """The input clipped to [0, 1] and rounded, of any shape; no gradient passes where it was clipped.

    `bits` is 2 to 16; 0 and 32 return `x`.

    Raises:
        ValueError: another number of bits.
    """
    return x if bits in FULL_PRECISION else _clip_and_round(x, levels_tensor(bits, x))


def quantize_gradient(
    g: Tensor, bits: int, *, stochastic: bool = True, generator: torch.Generator | None = None
) -> Tensor:
    """The rounded error, with one range per sample.

    Args:
        g: any floating shape; samples are its first dimension, or the second of a 3-d (time, batch, features).
        bits: 2 to 16; 0 and 32 return `g`.
        stochastic: add the noise; else round to nearest.
        generator: where the seed of the noise is drawn from; torch's global generator by default.

    Raises:
        ValueError: another number of bits.
    """
    if bits in FULL_PRECISION:
        return g
    return gradient(g, levels_tensor(bits, g), noise.drawn_seed(g, generator) if stochastic else None)


def weight(w: Tensor, levels: Tensor) -> Tensor:
    """As `quantize_weight`, with the levels as a 0-d tensor."""
    if w.numel() == 0:
        return w
    bounded = torch.tanh(w)
    # All weights zero is the one case in which the maximum is: then they all sit in the middle.
    scale = bounded.abs().amax().clamp_min(torch.finfo(w.dtype).tiny)
    return 2 * straight_through(_round_unit, bounded / (2 * scale) + 0.5, levels) - 1


def activation(x: Tensor, levels: Tensor, _zero_point: Tensor, _span: Tensor) -> Tensor:
    """As `quantize_activation`, with the levels as a 0-d tensor. The observed range plays no part."""
    return _clip_and_round(x, levels)


def gradient(g: Tensor, levels: Tensor, seed: Tensor | None) -> Tensor:
    """As `quantize_gradient`, with the levels as a 0-d tensor and the seed of the noise, if any, given."""
    if g.numel() == 0:
        return g
    sample = 1 if g.dim() == 3 else 0
    others = [dim for dim in range(g.dim()) if dim != sample]
    scale = 2 * (g.abs().amax(others, keepdim=True) if others else g.abs()).clamp_min(torch.finfo(g.dtype).tiny)
    codes = (g / scale).add_(0.5).mul_(levels)
    if seed is not None:
        codes.add_(noise.uniform(g, seed))
    return codes.round_().clamp_min_(0).clamp_max_(levels).div_(levels).sub_(0.5).mul_(scale)


def _clip_and_round(x: Tensor, levels: Tensor) -> Tensor:
    return straight_through(_round_unit, x.clamp(0, 1), levels)


def _round_unit(r: Tensor, levels: Tensor) -> Tensor:
    return (r * levels).round_().div_(levels)


QUANTIZER = Quantizer(weight, activation, gradient, stochastic_gradient=True, first_layer=False)
