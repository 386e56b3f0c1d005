"""What makes a quantisation scheme, and the functions by which it is used alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from cpt_core.quant import noise
from cpt_core.quant.bit_widths import FULL_PRECISION, levels_tensor
from cpt_core.quant.ranges import Share, tensor_range


class GradientRounding(Protocol):
    """Rounds the error at a layer's output."""

    def __call__(self, g: Tensor, levels: Tensor, seed: Tensor | None, share: Share | None = None, /) -> Tensor:
        """The rounded `g`, with `noise.uniform(g, seed)` unless `seed` is None; `share` for ranges of whole tensors."""


@dataclass(frozen=True, slots=True)
class Quantizer:
    """A scheme: three functions of module level, over values in floating point.

    `levels` is always 2^bits - 1 as a 0-d integer tensor, so that one compiled graph serves all widths.
    """

    weight: Callable[[Tensor, Tensor], Tensor]
    """(w, levels) -> the rounded weight, differentiable; output channels come first."""
    activation: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
    """(x, levels, zero_point, span) -> a layer's rounded input, differentiable; its minimum and range are 0-d."""
    gradient: GradientRounding
    """(g, levels, seed, share) -> the rounded error at a layer's output."""
    stochastic_gradient: bool
    """Whether the scheme wants noise in the errors."""
    first_layer: bool
    """Whether the scheme quantises a network's first layer too."""


class QuantizeGradient(Protocol):
    """See `Functions`."""

    def __call__(
        self, g: Tensor, bits: int, *, stochastic: bool = ..., generator: torch.Generator | None = None
    ) -> Tensor:
        """The rounded error."""


class Functions(NamedTuple):
    """A scheme on single tensors of any floating shape, which keep shape and type; an empty one stays as it is.

    `bits` is 2 to 16; 0 and 32 return the tensor itself, another number raises ValueError.
    """

    weight: Callable[[Tensor, int], Tensor]
    """(w, bits) -> the rounded weight, differentiable; output channels come first."""
    activation: Callable[[Tensor, int], Tensor]
    """(x, bits) -> the rounded input of a layer, differentiable, on its own range."""
    gradient: QuantizeGradient
    """(g, bits, *, stochastic, generator) -> the rounded error at a layer's output. `stochastic` adds U(-1/2, 1/2)
    before rounding, by default if the scheme does; `generator` draws the seed of that noise, else torch's global one.
    A 3-d tensor is (time, batch, features)."""


def functions(quantizer: Quantizer) -> Functions:
    """The functions of a scheme."""

    def quantize_weight(w: Tensor, bits: int) -> Tensor:
        return w if bits in FULL_PRECISION else quantizer.weight(w, levels_tensor(bits, w))

    def quantize_activation(x: Tensor, bits: int) -> Tensor:
        if bits in FULL_PRECISION:
            return x
        return quantizer.activation(x, levels_tensor(bits, x), *tensor_range(x))

    def quantize_gradient(
        g: Tensor,
        bits: int,
        *,
        stochastic: bool = quantizer.stochastic_gradient,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        if bits in FULL_PRECISION:
            return g
        return quantizer.gradient(g, levels_tensor(bits, g), noise.drawn_seed(g, generator) if stochastic else None)

    return Functions(quantize_weight, quantize_activation, quantize_gradient)
