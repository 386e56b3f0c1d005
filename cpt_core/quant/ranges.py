"""The range of a tensor, on this rank alone or over all ranks.

Sharing ranges puts a collective into the middle of forward and backward passes. Nothing can wait there for ever:

* All ranks run the same graph, and autograd walks it in one thread a device, in an order that the graph alone decides.
  So all ranks issue these collectives in the same order, and also in the same order among DDP's, which come from hooks
  in that very thread.
* They have a process group of their own. DDP's, which are under way while the backward pass goes on, are never matched
  with them, and run beside them: gloo's in other threads, NCCL's on another stream.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.distributed as dist
from torch import Tensor

from cpt_core.quant import noise
from cpt_core.quant.notes import note, noted
from cpt_core.quant.passes import passes

Share = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""(minimum, maximum) of this rank's part of a tensor, 0-d, to those over all ranks. All ranks must call it together."""


def over_ranks(group: dist.ProcessGroup) -> Share:
    """Shares over the ranks of a group, which nothing else may use."""

    def share(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        extremes = torch.stack([-low, high])
        # The maximum of NaN and a number is left open by the backends; of infinity and a number it is not.
        extremes.masked_fill_(extremes.isnan(), math.inf)
        dist.all_reduce(extremes, dist.ReduceOp.MAX, group=group)
        return -extremes[0], extremes[1]

    return share


def tensor_range(x: Tensor, share: Share | None = None) -> tuple[Tensor, Tensor]:
    """Minimum and range (maximum - minimum) over all elements, both 0-d; zeros where there are none.

    NaN in `x`, infinity, or a range that overflows makes the range NaN or infinite. With `share` they are those over
    all ranks, none of which may have an empty tensor.
    """
    if x.numel() == 0:
        return x.new_zeros(()), x.new_zeros(())
    known: Tensor | None = noted(x, _KNOWN)
    if known is not None:
        low, high, span = known.unbind()
    elif share is None and (fused := passes(x)):
        return fused.tensor_range(x)
    else:
        with torch.no_grad():
            low, high = torch.aminmax(noise.memory_order(x))
            span = high - low
    if share is None:
        return low, span
    low, high = share(low, high)
    return low, high - low


def remember(x: Tensor, extremes: Tensor) -> None:
    """Have `x` know its range until it is changed: what made it found it on the way.

    Args:
        x: a tensor.
        extremes: its minimum, maximum and range, 1-d.
    """
    note(x, _KNOWN, extremes)


_KNOWN = "_cpt_range"
"""Attribute of a tensor: its minimum, maximum and range."""
