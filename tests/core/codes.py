"""Codes of bytes, and the numbers that they stand for."""

import torch
from torch import Tensor

from cpt_core.quant.integer import Codes
from cpt_core.quant.integer.codes import code_tensor
from cpt_core.quant.ranges import tensor_range

EXACT, FIXED_POINT = 1e-5, 1e-4
"""Relative error against float64 of what is exact up to floats, and of what takes 16-bit fixed point."""


def levels(bits: int, device: torch.device | str = "cpu") -> Tensor:
    return torch.tensor(2**bits - 1, dtype=torch.int32, device=device)


def random(*shape: int, seed: int = 0, device: torch.device | str = "cpu") -> Tensor:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape) + seed)).to(device)
    return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x


def input_codes(x: Tensor, bits: int) -> Codes:
    return code_tensor(x, *tensor_range(x), levels(bits, x.device))


def numbers(x: Codes, group_dim: int = 0) -> Tensor:
    """What the codes stand for, in float64."""
    low, scale = x.low.double(), x.scale.double()
    if low.dim():
        shape = [1] * x.codes.dim()
        shape[group_dim] = -1
        low, scale = low.view(shape), scale.view(shape)
    return x.codes.double() * scale + low
