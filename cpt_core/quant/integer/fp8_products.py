"""The product of a linear layer's codes as 8-bit floats (e4m3), by `torch._scaled_mm`.

e4m3 has four significant bits: integers up to 16 are exact, larger ones are rounded, by up to a sixteenth. Codes of up
to 5 bits are counted from the middle of their range, from -16 to 15, and lose nothing. Those of 6 to 8 bits are counted
from the code nearest to zero, where a float is finest, and lose what e4m3 has no bits for: that is another quantiser.
Gradients are those of codes, which are saved, not of these floats.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from cpt_core.quant.integer.codes import Codes
from cpt_core.quant.integer.torch_products import Operand, numbers_of

MIN_CAPABILITY = (8, 9)
"""Compute capability from which a GPU multiplies FP8: Ada, and after it Hopper."""

EXACT_LEVELS = 31
"""Up to which number of levels codes are exact: 5 bits."""


def lacking(device: torch.device) -> str | None:
    """What a device that cannot multiply e4m3 lacks; None for one that can, as a CPU does, slowly."""
    if device.type != "cuda":
        return None
    if torch.version.cuda is None:
        return "an NVIDIA GPU"  # others have an e4m3 of their own
    capability = torch.cuda.get_device_capability(device)
    if capability >= MIN_CAPABILITY:
        return None
    wanted, had = (".".join(map(str, version)) for version in (MIN_CAPABILITY, capability))
    return f"a GPU of compute capability {wanted} or more (Ada, Hopper), not {had}"


def linear(x: Codes, w: Codes, bias: Tensor | None) -> Tensor:
    """(rows, n) from x (rows, k) and w (n, k)."""
    (a, rows), (b, columns) = _floats(x), _floats(w)
    return numbers_of(_product(a, b), a.shape[1], rows, columns, bias)


def _floats(x: Codes) -> tuple[Tensor, Operand]:
    """A matrix in e4m3."""
    scale = x.scale
    of_zero = (-x.low / scale).round().clamp_min(0).minimum(x.levels)
    centre = torch.where(x.levels <= EXACT_LEVELS, (x.levels + 1) // 2, of_zero)
    floats = (x.codes - centre.unsqueeze(-1)).to(torch.float8_e4m3fn)
    return floats, Operand(floats.to(scale.dtype).sum(1), scale, x.low + centre * scale)


def _product(a: Tensor, b: Tensor) -> Tensor:
    """(rows, n) from (rows, k) and (n, k), in float32."""
    one = torch.ones((), device=a.device)
    columns = len(b)
    if a.is_cuda:
        a, b = _padded(a, 1), _padded(b, 16)
    return torch._scaled_mm(a, b.t(), one, one, out_dtype=torch.float32)[:, :columns]


def _padded(a: Tensor, rows: int) -> Tensor:
    """With zeros up to a multiple of `rows`, and of 16 columns, as products on a GPU want them."""
    # As bytes: the zero of e4m3 is that of integers.
    padded = F.pad(a.view(torch.uint8), (0, -a.shape[1] % 16, 0, -len(a) % rows))
    return padded.view(torch.float8_e4m3fn)
