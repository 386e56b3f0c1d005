"""Tensors as codes of at most 8 bits, by the SBM quantiser."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from cpt_core.quant import sbm
from cpt_core.quant.passes import passes
from cpt_core.quant.ranges import Share, tensor_range


class Codes(NamedTuple):
    """Numbers as `codes * span / levels + low`."""

    codes: Tensor
    """uint8, in the shape and the memory format of the numbers."""
    low: Tensor
    """Lowest number: 0-d, or 1-d with one for each group."""
    span: Tensor
    """Highest minus lowest, as `low`."""
    levels: Tensor
    """2^bits - 1, 0-d int32."""

    @property
    def scale(self) -> Tensor:
        """Between numbers of successive codes, as `low`."""
        return (self.span / self.levels).clamp_min(sbm.MIN_SCALE)


def code_tensor(x: Tensor, low: Tensor, span: Tensor, levels: Tensor) -> Codes:
    """A layer's input, rounded to nearest on the range given."""
    return Codes(_codes(x, low, span, levels), low, span, levels)


def code_weight(w: Tensor, levels: Tensor) -> Codes:
    """A weight of two dimensions or more, rounded to nearest on a range for each index of the first."""
    low, span = _group_ranges(w, len(w), 1)
    return Codes(_codes(w, low, span, levels), low, span, levels)


def recode_weight(w: Tensor, low: Tensor, span: Tensor, levels: Tensor) -> Codes:
    """As `code_weight`, on the ranges that it found before: so codes need not be kept, where the weight is anyway."""
    return Codes(_codes(w, low, span, levels), low, span, levels)


def code_error(g: Tensor, levels: Tensor, seed: Tensor | None, share: Share | None) -> Codes:
    """The error at a layer's output, with noise if there is a seed.

    A 3-d tensor has a range for each index of its second dimension, any other has one, as in `sbm.gradient`.
    """
    outer = 1
    if g.dim() == 3:
        outer = len(g)
        low, span = _group_ranges(g, g.shape[1], outer)
    else:
        low, span = tensor_range(g, share)
    return Codes(_codes(g, low, span, levels, seed, outer), low, span, levels)


def _group_ranges(x: Tensor, groups: int, outer: int) -> tuple[Tensor, Tensor]:
    if fused := passes(x):
        return fused.group_ranges(x, groups, outer)
    rows = x.reshape(outer, groups, -1)
    low, high = rows.amin((0, 2)), rows.amax((0, 2))
    return low, high - low


def _codes(x: Tensor, low: Tensor, span: Tensor, levels: Tensor, seed: Tensor | None = None, outer: int = 1) -> Tensor:
    if fused := passes(x):
        return fused.codes(x, low, span, levels, seed, outer)
    if low.dim():
        shape = (-1, *(1 for _ in range(x.dim() - (1 if outer == 1 else 2))))
        low, span = low.view(shape), span.view(shape)
    return sbm.steps(x, low, (span / levels).clamp_min_(sbm.MIN_SCALE), levels, seed).to(torch.uint8)
