"""The bit widths that a group of quantised layers shares, as tensors, so that changing them recompiles nothing."""

from __future__ import annotations

import torch
from torch import Tensor, nn

FULL_PRECISION = (0, 32)
"""Bit widths that mean "not quantised"."""


def levels(bits: int) -> int:
    """Steps between the lowest and the highest code of `bits` bits: 2^bits - 1.

    Raises:
        ValueError: fewer than 2 or more than 16 bits.
    """
    if not 2 <= bits <= 16:
        raise ValueError(f"{bits} bits cannot be quantised to: use 2 to 16, or 32 (or 0) for full precision")
    return (1 << bits) - 1


def levels_tensor(bits: int, like: Tensor) -> Tensor:
    """`levels` as a 0-d tensor on the device of `like`."""
    return torch.tensor(levels(bits), dtype=torch.int32, device=like.device)


class BitWidths(nn.Module):
    """Levels of the forward and the backward pass and the seed of the stochastic rounding.

    One instance is a submodule of every layer of a group, so moving the model keeps it shared. The buffers are 0-d and
    not persistent: widths are a function of the step, and no part of a checkpoint. The levels are integers, so that
    `model.half()` cannot make infinity of them.
    """

    forward_levels: Tensor
    backward_levels: Tensor
    seed: Tensor

    def __init__(self, *, stochastic: bool = True) -> None:
        super().__init__()
        self.stochastic = stochastic
        self.quantize_forward = False
        self.quantize_backward = False
        self.in_bytes = False
        """Whether the codes of both passes have at most 8 bits."""
        self.register_buffer("forward_levels", torch.tensor(0, dtype=torch.int32), persistent=False)
        self.register_buffer("backward_levels", torch.tensor(0, dtype=torch.int32), persistent=False)
        self.register_buffer("seed", torch.tensor(0, dtype=torch.int64), persistent=False)

    def set(self, forward_bits: int, backward_bits: int) -> None:
        """Set the widths; 0 or 32 is full precision, and full precision forward leaves the gradients alone too.

        Raises:
            ValueError: a width that cannot be quantised to.
        """
        forward = 0 if forward_bits in FULL_PRECISION else levels(forward_bits)
        backward = 0 if backward_bits in FULL_PRECISION else levels(backward_bits)
        self.quantize_forward = forward > 0
        self.quantize_backward = forward > 0 and backward > 0
        self.in_bytes = 0 < forward <= levels(8) and 0 < backward <= levels(8)
        self.forward_levels.fill_(forward)
        self.backward_levels.fill_(backward)
