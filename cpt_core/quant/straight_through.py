"""The two places where quantisation meets autograd: rounding on the way forward, and on the way back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from cpt_core.quant.ranges import Share


def straight_through(rounding: Callable[..., Tensor], x: Tensor, *args: Tensor) -> Tensor:
    """`rounding(x, *args)` on the way forward; the gradient of `x` passes as if nothing had happened."""
    result: Tensor = _StraightThrough.apply(rounding, x, *args)
    return result


def round_gradient(
    rounding: Callable[..., Tensor], y: Tensor, levels: Tensor, seed: Tensor | None, share: Share | None
) -> Tensor:
    """`y` on the way forward; its gradient g becomes `rounding(g, levels, seed, share)`."""
    result: Tensor = _RoundGradient.apply(rounding, y, levels, seed, share)
    return result


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rounding: Callable[..., Tensor], x: Tensor, *args: Tensor) -> Tensor:
        ctx.constants = len(args)
        return rounding(x, *args)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        return (None, grad_outputs[0], *(None,) * ctx.constants)


class _RoundGradient(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        rounding: Callable[..., Tensor],
        y: Tensor,
        levels: Tensor,
        seed: Tensor | None,
        share: Share | None,
    ) -> Tensor:
        ctx.rounding, ctx.share = rounding, share
        # Saved as a tensor, so that setting other widths between forward and backward is an error of autograd's.
        ctx.save_for_backward(levels, seed)
        return y.detach()  # no view for autograd, so that an in-place ReLU may follow

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        (g,) = grad_outputs
        levels, seed = ctx.saved_tensors
        return None, ctx.rounding(g, levels, seed, ctx.share), None, None, None
