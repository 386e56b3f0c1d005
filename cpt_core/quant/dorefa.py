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
from cpt_core.quant.quantizer import Quantizer, functions
from cpt_core.quant.ranges import Share
from cpt_core.quant.straight_through import straight_through


def weight(w: Tensor, levels: Tensor) -> Tensor:
    """Rounded, in [-1, 1]; differentiable, through tanh and its maximum too."""
    if w.numel() == 0:
        return w
    bounded = torch.tanh(w)
    # All weights zero is the one case in which the maximum is: then they all sit in the middle.
    scale = bounded.abs().amax().clamp_min(torch.finfo(w.dtype).tiny)
    return 2 * straight_through(_round_unit, bounded / (2 * scale) + 0.5, levels) - 1


def activation(x: Tensor, levels: Tensor, _zero_point: Tensor, _span: Tensor) -> Tensor:
    """Clipped to [0, 1] and rounded; no gradient passes where it was clipped. The observed range plays no part."""
    return straight_through(_round_unit, x.clamp(0, 1), levels)


def gradient(g: Tensor, levels: Tensor, seed: Tensor | None, _share: Share | None = None) -> Tensor:
    """Rounded with noise, with one range per sample: of the first dimension, or the second of (time, batch, features).

    A sample is on one rank, so there is nothing to share.
    """
    if g.numel() == 0:
        return g
    sample = 1 if g.dim() == 3 else 0
    others = [dim for dim in range(g.dim()) if dim != sample]
    scale = 2 * (g.abs().amax(others, keepdim=True) if others else g.abs()).clamp_min(torch.finfo(g.dtype).tiny)
    codes = (g / scale).add_(0.5).mul_(levels)
    if seed is not None:
        codes.add_(noise.uniform(g, seed))
    return codes.round_().clamp_min_(0).clamp_max_(levels).div_(levels).sub_(0.5).mul_(scale)


def _round_unit(r: Tensor, levels: Tensor) -> Tensor:
    return (r * levels).round_().div_(levels)


QUANTIZER = Quantizer(weight, activation, gradient, stochastic_gradient=True, first_layer=False)
quantize_weight, quantize_activation, quantize_gradient = functions(QUANTIZER)
