"""Codes made ready for products on a GPU: as signed bytes, and in the order in which the sums run.

Tensor cores multiply signed bytes, and want those of a sum side by side. Making them so beforehand costs a byte read
and a byte written for each code, and leaves the products nothing but loads and multiplications.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from cpt_core.quant import sbm
from cpt_core.quant.integer.codes import Codes

WIDE_LEVELS = 127 * 256 + 127
"""Largest number of 16-bit fixed point whose two bytes are both signed."""

ROWS, COLUMNS = 32, 128
"""Of the tile that a program takes at a time."""

_ROUNDER = tl.constexpr(12582912.0)  # as in triton_passes
_MIN_SCALE = tl.constexpr(sbm.MIN_SCALE)
_WIDE_LEVELS = tl.constexpr(float(WIDE_LEVELS))


class Rows(NamedTuple):
    """Signed bytes, codes less (levels + 1) / 2, in rows along which products sum."""

    bytes: Tensor
    sums: Tensor
    """Of each row, int32."""


class Wide(NamedTuple):
    """Numbers as `(high * 256 + low) * scale`, turned: (columns, rows) of what they were made from."""

    high: Tensor
    low: Tensor
    sums: Tensor
    """Of high * 256 + low along each row, float32."""
    scale: Tensor
    """0-d."""


@triton.jit
def scale_of(span, levels):
    """`Codes.scale`."""
    scale = tl.math.div_rn(span, levels.to(tl.float32))
    return tl.where(scale < _MIN_SCALE, _MIN_SCALE, scale)


@triton.jit
def _signed_rows(
    codes_at, levels_at, bytes_at, sums_at, rows, columns, ROWS: tl.constexpr, COLUMNS: tl.constexpr
):  # fmt: skip
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    centre = ((tl.load(levels_at) + 1) // 2).to(tl.int16)
    first = row.to(tl.int64)[:, None] * columns
    sums = tl.zeros((ROWS,), dtype=tl.int32)
    for begin in range(0, columns, COLUMNS):
        column = begin + tl.arange(0, COLUMNS)
        inside = (row < rows)[:, None] & (column < columns)[None, :]
        signed = tl.load(codes_at + first + column[None, :], mask=inside, other=0).to(tl.int16) - centre
        signed = tl.where(inside, signed, 0)
        sums += tl.sum(signed.to(tl.int32), axis=1)
        tl.store(bytes_at + first + column[None, :], signed.to(tl.int8), mask=inside)
    tl.store(sums_at + row, sums, mask=row < rows)


@triton.jit
def _turned(codes_at, levels_at, bytes_at, rows, columns, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    inside = (row < rows)[:, None] & (column < columns)[None, :]
    centre = ((tl.load(levels_at) + 1) // 2).to(tl.int16)
    codes = tl.load(codes_at + row.to(tl.int64)[:, None] * columns + column[None, :], mask=inside, other=0)
    signed = (codes.to(tl.int16) - centre).to(tl.int8)
    tl.store(bytes_at + column.to(tl.int64)[:, None] * rows + row[None, :], tl.trans(signed), mask=tl.trans(inside))


@triton.jit
def _wide_turned(
    codes_at, low_at, span_at, levels_at, wide_scale_at, high_bytes_at, low_bytes_at, rows, columns, groups, group_rows,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    inside = (row < rows)[:, None] & (column < columns)[None, :]
    group = row // group_rows % groups
    low = tl.load(low_at + group, mask=row < rows, other=0.0)
    scale = scale_of(tl.load(span_at + group, mask=row < rows, other=0.0), tl.load(levels_at))
    codes = tl.load(codes_at + row.to(tl.int64)[:, None] * columns + column[None, :], mask=inside, other=0)
    fixed = tl.math.div_rn(codes.to(tl.float32) * scale[:, None] + low[:, None], tl.load(wide_scale_at))
    # The largest is known up to rounding. NaN becomes some number: it is in the scale.
    fixed = tl.where(fixed > -_WIDE_LEVELS, fixed, -_WIDE_LEVELS)
    fixed = tl.where(fixed > _WIDE_LEVELS, _WIDE_LEVELS, fixed)
    fixed = ((fixed + _ROUNDER) - _ROUNDER).to(tl.int32)
    high = (fixed + 128) >> 8
    to = column.to(tl.int64)[:, None] * rows + row[None, :]
    tl.store(high_bytes_at + to, tl.trans(high.to(tl.int8)), mask=tl.trans(inside))
    tl.store(low_bytes_at + to, tl.trans((fixed - (high << 8)).to(tl.int8)), mask=tl.trans(inside))


def signed_rows(x: Codes, columns: int) -> Rows:
    """The codes, contiguous in memory, as rows of `columns`."""
    rows = x.codes.numel() // columns
    signed = torch.empty((rows, columns), dtype=torch.int8, device=x.codes.device)
    sums = torch.empty(rows, dtype=torch.int32, device=x.codes.device)
    _signed_rows[triton.cdiv(rows, ROWS),](
        x.codes, x.levels, signed, sums, rows, columns, ROWS=ROWS, COLUMNS=COLUMNS
    )  # fmt: skip
    return Rows(signed, sums)


def turned(x: Codes, columns: int) -> Tensor:
    """The codes of rows of `columns` as signed bytes, (columns, rows)."""
    rows = x.codes.numel() // columns
    signed = torch.empty((columns, rows), dtype=torch.int8, device=x.codes.device)
    _turned[_tiles(rows, columns)](x.codes, x.levels, signed, rows, columns, ROWS=ROWS, COLUMNS=COLUMNS)
    return signed


def wide_turned(x: Codes, columns: int, group_rows: int = 1) -> Wide:
    """The numbers of rows of `columns` in 16-bit fixed point; groups of rows take turns, `group_rows` rows each."""
    rows = x.codes.numel() // columns
    largest = torch.maximum(x.low.abs(), (x.low + x.span).abs()).amax()
    scale = (largest / WIDE_LEVELS).clamp_min(torch.finfo(torch.float32).tiny)
    high, low = (torch.empty((columns, rows), dtype=torch.int8, device=x.codes.device) for _ in range(2))
    _wide_turned[_tiles(rows, columns)](
        *x, scale, high, low, rows, columns, x.low.numel(), group_rows, ROWS=ROWS, COLUMNS=COLUMNS
    )
    sums = high.sum(1, dtype=torch.int64) * 256 + low.sum(1, dtype=torch.int64)
    return Wide(high, low, sums.to(torch.float32), scale)


def _tiles(rows: int, columns: int) -> tuple[int, int]:
    return triton.cdiv(rows, ROWS), triton.cdiv(columns, COLUMNS)
