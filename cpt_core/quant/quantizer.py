"""What makes a quantisation scheme."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Quantizer:
    """A scheme: three functions of module level, over values in floating point.

    `levels` is always 2^bits - 1 as a 0-d integer tensor, so that one compiled graph serves all widths.
    """

    weight: Callable[[Tensor, Tensor], Tensor]
    """(w, levels) -> the rounded weight, differentiable; output channels come first."""
    activation: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
    """(x, levels, zero_point, span) -> a layer's rounded input, differentiable; its minimum and range are 0-d."""
    gradient: Callable[[Tensor, Tensor, Tensor | None], Tensor]
    """(g, levels, seed) -> the rounded error at a layer's output, with `noise.uniform(g, seed)` unless it is None."""
    stochastic_gradient: bool
    """Whether the scheme wants that noise."""
    first_layer: bool
    """Whether the scheme quantises a network's first layer too."""
