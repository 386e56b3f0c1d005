"""Uniform noise as a pure function of a seed and the element's index: a counter-based generator.

It has no state to save, gives the same numbers on every device, thread count and compiler, fuses into one kernel under
torch.compile, and costs a third of `Tensor.uniform_` on a CPU, where that is serial.
"""

from __future__ import annotations

import torch
from torch import Tensor

# Odd multipliers of 32-bit integer hashes with good avalanche (lowbias32, and 2^32 divided by the golden ratio).
_M1, _M2, _M3 = 0x7FEB352D, 0x846CA68B - 2**32, 0x9E3779B1 - 2**32

# 2^64 divided by the golden ratio, odd: successive streams differ in all bits (a Weyl sequence).
_STREAM_STRIDE = 0x9E3779B97F4A7C15


def signed64(value: int) -> int:
    """`value` modulo 2^64, as the signed integer that a torch tensor can hold."""
    value &= 2**64 - 1
    return value - 2**64 if value >> 63 else value


def stream(index: int) -> int:
    """What to add to a seed, modulo 2^64, so that it makes noise independent of that of other indices."""
    return signed64(index * _STREAM_STRIDE)


def product_stream(index: int) -> int:
    """As `stream`, for the products of one layer: distinct from the streams of the first 2^32 layers."""
    return stream(index << 32)


def memory_order(x: Tensor) -> Tensor:
    """`x` itself, or its view in memory order where it is channels-last, which elementwise code walks faster."""
    if x.dim() == 4 and not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last):
        return x.permute(0, 2, 3, 1)
    return x


def uniform(like: Tensor, seed: Tensor) -> Tensor:
    """Noise of U(-1/2, 1/2) in the shape, type and memory format of `like`; `seed` is a 0-d int64 tensor.

    Resolution is 2^-32, or that of the type where it is coarser.
    """
    ordered = memory_order(like)
    key_low, key_high = seed.to(torch.int32), (seed >> 32).to(torch.int32)
    # The right shifts are arithmetic, which costs the top bit; each multiplication that follows spreads all others
    # over the word again, so nothing has to be masked.
    x = torch.arange(like.numel(), dtype=torch.int32, device=like.device).add_(key_low).mul_(_M1)
    x.bitwise_xor_(x >> 15).bitwise_xor_(key_high).mul_(_M2)
    x.bitwise_xor_(x >> 13).mul_(_M3)
    noise = x.to(like.dtype).mul_(2.0**-32).view(ordered.shape)
    return noise if ordered is like else noise.permute(0, 3, 1, 2)


def drawn_seed(like: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """A seed for `uniform`, on the device of `like`, from `generator`, by default torch's global one on the CPU."""
    device = generator.device if generator is not None else torch.device("cpu")
    seed = torch.randint(-(2**63), 2**63 - 1, (), generator=generator, device=device, dtype=torch.int64)
    return seed.to(like.device)
