"""The SBM quantiser's rounding as one Triton kernel, for float32 on a GPU: the interface of `native`.

Equal to the PyTorch code bit for bit: the same operations in the same order, each rounded (no fused multiply-add, and
division as IEEE 754 has it). Ranges are torch's, which are one pass already.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from cpt_core.quant import noise

BLOCK = 2048
"""Elements that a program rounds."""

# Float32 has no fraction above 2^23: adding and subtracting this rounds to nearest, ties to even.
_ROUNDER = tl.constexpr(12582912.0)
_MIN_SCALE = tl.constexpr(1e-8)
_M1, _M2, _M3 = (tl.constexpr(multiplier) for multiplier in (noise._M1, noise._M2, noise._M3))


@triton.jit
def _uniform(index, seed):
    """`noise.uniform`: in int32, whose right shifts are arithmetic and whose products wrap around."""
    x = (index.to(tl.int32) + seed.to(tl.int32)) * _M1
    x = (x ^ (x >> 15) ^ (seed >> 32).to(tl.int32)) * _M2
    x = (x ^ (x >> 13)) * _M3
    return x.to(tl.float32) * 2.3283064365386963e-10  # 2^-32


@triton.jit
def _on_grids(
    x_at, y_at, low_at, span_at, levels_at, seed_at, columns, groups,
    STOCHASTIC: tl.constexpr, CODES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """A block of one row of (rows, columns), whose rows take turns in the groups."""
    blocks = tl.cdiv(columns, BLOCK)
    program = tl.program_id(0).to(tl.int64)
    row = program // blocks
    column = (program % blocks) * BLOCK + tl.arange(0, BLOCK)
    inside = column < columns
    index = row * columns + column
    levels = tl.load(levels_at).to(tl.float32)
    low = tl.load(low_at + row % groups)
    scale = tl.math.div_rn(tl.load(span_at + row % groups), levels)
    scale = tl.where(scale < _MIN_SCALE, _MIN_SCALE, scale)
    code = tl.math.div_rn(tl.load(x_at + index, mask=inside, other=0.0) - low, scale)
    if STOCHASTIC:
        code += _uniform(index, tl.load(seed_at))
    if CODES:
        code = tl.where(code > 0.0, code, 0.0)  # NaN too: it is in the scale
    else:
        code = tl.where(code < 0.0, 0.0, code)
    code = tl.where(code > levels, levels, code)
    code = (code + _ROUNDER) - _ROUNDER
    if CODES:
        tl.store(y_at + index, code.to(tl.uint8), mask=inside)
    else:
        tl.store(y_at + index, code * scale + low, mask=inside)


@torch.no_grad()
def tensor_range(x: Tensor) -> tuple[Tensor, Tensor]:
    """Minimum and range of all elements, 0-d; NaN where there is one."""
    low, high = torch.aminmax(noise.memory_order(x))
    return low, high - low


def group_ranges(x: Tensor, groups: int, outer: int = 1) -> tuple[Tensor, Tensor]:
    """Minimum and range of each group of `x`, which is (outer, groups, anything) in memory; each is 1-d."""
    rows = noise.memory_order(x).view(outer, groups, -1)
    low, high = rows.amin((0, 2)), rows.amax((0, 2))
    return low, high - low


def round_affine(
    x: Tensor, zero_point: Tensor, span: Tensor, levels: Tensor, seed: Tensor | None = None, outer: int = 1
) -> Tensor:
    """As `native.round_affine`."""
    return _rounded(x, torch.empty_like(x), zero_point, span, levels, seed, outer)


def codes(
    x: Tensor, zero_point: Tensor, span: Tensor, levels: Tensor, seed: Tensor | None = None, outer: int = 1
) -> Tensor:
    """As `native.codes`."""
    return _rounded(x, torch.empty_like(x, dtype=torch.uint8), zero_point, span, levels, seed, outer)


def round_rows(x: Tensor, rows: int, levels: Tensor, seed: Tensor | None = None) -> Tensor:
    """As `native.round_rows`."""
    return round_affine(x, *group_ranges(x, rows), levels, seed)


def _rounded(
    x: Tensor, y: Tensor, zero_point: Tensor, span: Tensor, levels: Tensor, seed: Tensor | None, outer: int
) -> Tensor:
    groups = zero_point.numel()
    rows = outer * groups
    columns = x.numel() // rows
    _on_grids[rows * triton.cdiv(columns, BLOCK),](
        x, y, zero_point, span, levels, levels if seed is None else seed, columns, groups,
        STOCHASTIC=seed is not None, CODES=y.dtype == torch.uint8, BLOCK=BLOCK, enable_fp_fusion=False,
    )  # fmt: skip
    return y
