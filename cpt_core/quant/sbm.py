"""The SBM quantiser (Banner et al., "Scalable methods for 8-bit training", 2018): affine, min to max, unsigned.

    scale = max((max - min) / (2^bits - 1), 1e-8)
    q     = rint(clamp((x - min) / scale, 0, 2^bits - 1)) * scale + min

Weights have one range per output channel, activations one per tensor, errors one per tensor (one per row for 3-d) and
stochastic rounding. The order of operations is the reference's, so results are equal bit for bit.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cpt_core.quant import noise
from cpt_core.quant.passes import passes
from cpt_core.quant.quantizer import Quantizer, functions
from cpt_core.quant.ranges import Share, tensor_range
from cpt_core.quant.straight_through import straight_through

MIN_SCALE = 1e-8


def weight(w: Tensor, levels: Tensor) -> Tensor:
    """Rounded to nearest, with one range per index of the first dimension (a 1-d tensor has one in all).

    Gradients pass straight through.
    """
    return straight_through(_round_weight, w, levels)


def activation(x: Tensor, levels: Tensor, zero_point: Tensor, span: Tensor) -> Tensor:
    """Rounded to nearest, on the range given. Gradients pass straight through."""
    return straight_through(_affine, x, zero_point, span, levels)


def gradient(g: Tensor, levels: Tensor, seed: Tensor | None, share: Share | None = None) -> Tensor:
    """Rounded with noise, so that the result is unbiased.

    A 3-d tensor (time, batch, features) has one range per batch row, that is per index of its second dimension, which
    is this rank's alone; any other has one range.
    """
    if g.dim() != 3 or g.numel() == 0:
        return _affine(g, *tensor_range(g, share), levels, seed)
    if fused := passes(g):
        if len(g) == 1:
            return fused.round_rows(g, g.shape[1], levels, seed)
        return fused.round_affine(g, *fused.group_ranges(g, g.shape[1], len(g)), levels, seed, len(g))
    low, high = g.amin((0, 2), keepdim=True), g.amax((0, 2), keepdim=True)
    return _affine(g, low, high - low, levels, seed)


def _round_weight(w: Tensor, levels: Tensor) -> Tensor:
    if w.dim() < 2 or w.numel() == 0:
        return _affine(w, *tensor_range(w), levels)
    if fused := passes(w):
        return fused.round_rows(w, len(w), levels)
    low, high = torch.aminmax(w.flatten(1), dim=1)
    per_channel = (-1,) + (1,) * (w.dim() - 1)
    return _affine(w, low.view(per_channel), (high - low).view(per_channel), levels)


def _affine(x: Tensor, zero_point: Tensor, span: Tensor, levels: Tensor, seed: Tensor | None = None) -> Tensor:
    if zero_point.dim() == 0 and (fused := passes(x)):
        return fused.round_affine(x, zero_point, span, levels, seed)
    scale = (span / levels).clamp_min_(MIN_SCALE)
    return steps(x, zero_point, scale, levels, seed).mul_(scale).add_(zero_point)


def steps(x: Tensor, zero_point: Tensor, scale: Tensor, levels: Tensor, seed: Tensor | None = None) -> Tensor:
    """How many steps of `scale` above `zero_point` `x` is rounded to, 0 to `levels`; with a seed, stochastically."""
    q = (x - zero_point).div_(scale)
    if seed is not None:
        q.add_(noise.uniform(x, seed))
    # Two clamps with one bound each: one clamp with a tensor bound is slower than both.
    return q.clamp_min_(0).clamp_max_(levels).round_()


QUANTIZER = Quantizer(weight, activation, gradient, stochastic_gradient=True, first_layer=True)
quantize_weight, quantize_activation, quantize_gradient = functions(QUANTIZER)
