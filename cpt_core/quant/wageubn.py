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
from cpt_core.quant.quantizer import Quantizer, functions
from cpt_core.quant.ranges import Share
from cpt_core.quant.straight_through import straight_through


def weight(w: Tensor, levels: Tensor) -> Tensor:
    """Rounded and clipped. Gradients pass straight through."""
    return straight_through(_direct_clipped, w, levels)


def activation(x: Tensor, levels: Tensor, _zero_point: Tensor, _span: Tensor) -> Tensor:
    """Rounded. Gradients pass straight through. The observed range plays no part."""
    return straight_through(_direct, x, levels)


def gradient(g: Tensor, levels: Tensor, seed: Tensor | None, share: Share | None = None) -> Tensor:
    """Rounded, with one power of two as the range of the whole tensor; with noise if a seed is given."""
    if g.numel() == 0:
        return g
    largest = g.abs().amax()
    if share is not None:
        _, largest = share(largest, largest)
    scale = largest.clamp_min(torch.finfo(g.dtype).tiny).log2().round_().exp2()
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
quantize_weight, quantize_activation, quantize_gradient = functions(QUANTIZER)
