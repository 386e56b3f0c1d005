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

SPLITS = 64
"""Of the rows when columns are summed up as floats."""

_ROUNDER = tl.constexpr(12582912.0)  # as in triton_passes
_MIN_SCALE = tl.constexpr(sbm.MIN_SCALE)
_WIDE_LEVELS = tl.constexpr(float(WIDE_LEVELS))
_TINY = tl.constexpr(torch.finfo(torch.float32).tiny)


class Rows(NamedTuple):
    """Signed bytes, codes less (levels + 1) / 2, in rows along which products sum."""

    bytes: Tensor
    sums: Tensor
    """Of each row, int32."""


class Turned(NamedTuple):
    """Signed bytes, (columns, rows) of the codes that they were made from."""

    bytes: Tensor
    sums: Tensor
    """Of each column of the codes, int64."""


class Wide(NamedTuple):
    """Numbers as `(high * 256 + low) * scale`, turned: (columns, rows) of what they were made from."""

    high: Tensor
    low: Tensor
    sums: Tensor
    """Of high * 256 + low along each row, int64."""
    scale: Tensor
    """0-d."""


@triton.jit
def scale_of(span, levels):
    """`Codes.scale`."""
    scale = tl.math.div_rn(span, levels.to(tl.float32))
    return tl.where(scale < _MIN_SCALE, _MIN_SCALE, scale)


@triton.jit
def centred(low, span, levels):
    """Scale and zero point of signed bytes: the codes less the middle one."""
    scale = scale_of(span, levels)
    return scale, low + ((levels + 1) // 2).to(tl.float32) * scale


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
def _turned(codes_at, levels_at, bytes_at, sums_at, rows, columns, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    inside = (row < rows)[:, None] & (column < columns)[None, :]
    centre = ((tl.load(levels_at) + 1) // 2).to(tl.int16)
    codes = tl.load(codes_at + row.to(tl.int64)[:, None] * columns + column[None, :], mask=inside, other=0)
    signed = tl.where(inside, codes.to(tl.int16) - centre, 0)
    # Sums of integers are the same in whatever order programs add to them.
    tl.atomic_add(sums_at + column, tl.sum(signed.to(tl.int32), axis=0).to(tl.int64), mask=column < columns)
    to = column.to(tl.int64)[:, None] * rows + row[None, :]
    tl.store(bytes_at + to, tl.trans(signed.to(tl.int8)), mask=tl.trans(inside))


@triton.jit
def _wide_scale(low_at, span_at, scale_at, groups, BLOCK: tl.constexpr):
    """The scale at which the largest of all numbers is `WIDE_LEVELS`."""
    largest = tl.zeros((BLOCK,), dtype=tl.float32)
    for first in range(0, groups, BLOCK):
        group = first + tl.arange(0, BLOCK)
        low = tl.load(low_at + group, mask=group < groups, other=0.0)
        high = low + tl.load(span_at + group, mask=group < groups, other=0.0)
        largest = tl.maximum(largest, tl.abs(low), propagate_nan=tl.PropagateNan.ALL)
        largest = tl.maximum(largest, tl.abs(high), propagate_nan=tl.PropagateNan.ALL)
    # The maximum passes NaN over, the sum does not.
    scale = tl.math.div_rn(tl.max(largest, axis=0) + tl.sum(largest * 0.0, axis=0), _WIDE_LEVELS)
    tl.store(scale_at, tl.where(scale < _TINY, _TINY, scale))


@triton.jit(do_not_specialize=["groups", "group_rows"])
def _wide_turned(
    codes_at, low_at, span_at, levels_at, wide_scale_at, high_bytes_at, low_bytes_at, sums_at,
    rows, columns, groups, group_rows, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
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
    fixed = tl.where(inside, fixed, 0)
    tl.atomic_add(sums_at + column, tl.sum(fixed, axis=0).to(tl.int64), mask=column < columns)
    high = (fixed + 128) >> 8
    to = column.to(tl.int64)[:, None] * rows + row[None, :]
    tl.store(high_bytes_at + to, tl.trans(high.to(tl.int8)), mask=tl.trans(inside))
    tl.store(low_bytes_at + to, tl.trans((fixed - (high << 8)).to(tl.int8)), mask=tl.trans(inside))


@triton.jit(do_not_specialize=["groups", "group_rows"])
def _column_sums(
    codes_at, low_at, span_at, levels_at, out_at, rows, columns, groups, group_rows, share,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """The sums of numbers, (splits, columns), of `share` rows each."""
    split, column = tl.program_id(0), tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    levels, sums = tl.load(levels_at), tl.zeros((COLUMNS,), dtype=tl.float32)
    for first in range(split * share, tl.minimum((split + 1) * share, rows), ROWS):
        row = first + tl.arange(0, ROWS)
        group, inside = row // group_rows % groups, (row < rows)[:, None] & (column < columns)[None, :]
        low = tl.load(low_at + group, mask=row < rows, other=0.0)
        scale = scale_of(tl.load(span_at + group, mask=row < rows, other=0.0), levels)
        codes = tl.load(codes_at + row.to(tl.int64)[:, None] * columns + column[None, :], mask=inside, other=0)
        sums += tl.sum(tl.where(inside, codes.to(tl.float32) * scale[:, None] + low[:, None], 0.0), axis=0)
    tl.store(out_at + split * columns + column, sums, mask=column < columns)


def signed_rows(x: Codes, columns: int) -> Rows:
    """The codes, contiguous in memory, as rows of `columns`."""
    rows = x.codes.numel() // columns
    signed = torch.empty((rows, columns), dtype=torch.int8, device=x.codes.device)
    sums = torch.empty(rows, dtype=torch.int32, device=x.codes.device)
    _signed_rows[triton.cdiv(rows, ROWS),](
        x.codes, x.levels, signed, sums, rows, columns, ROWS=ROWS, COLUMNS=COLUMNS
    )  # fmt: skip
    return Rows(signed, sums)


def turned(x: Codes, columns: int) -> Turned:
    """The codes of rows of `columns`."""
    rows = x.codes.numel() // columns
    signed = torch.empty((columns, rows), dtype=torch.int8, device=x.codes.device)
    sums = torch.zeros(columns, dtype=torch.int64, device=x.codes.device)
    _turned[_tiles(rows, columns)](x.codes, x.levels, signed, sums, rows, columns, ROWS=ROWS, COLUMNS=COLUMNS)
    return Turned(signed, sums)


def wide_turned(x: Codes, columns: int, group_rows: int = 1) -> Wide:
    """The numbers of rows of `columns` in 16-bit fixed point; groups of rows take turns, `group_rows` rows each."""
    rows, groups, device = x.codes.numel() // columns, x.low.numel(), x.codes.device
    scale = torch.empty((), device=device)
    _wide_scale[1,](x.low, x.span, scale, groups, BLOCK=COLUMNS)
    high, low = (torch.empty((columns, rows), dtype=torch.int8, device=device) for _ in range(2))
    sums = torch.zeros(columns, dtype=torch.int64, device=device)
    _wide_turned[_tiles(rows, columns)](
        *x, scale, high, low, sums, rows, columns, groups, group_rows, ROWS=ROWS, COLUMNS=COLUMNS
    )
    return Wide(high, low, sums, scale)


def bias_gradient(error: Codes, columns: int, group_rows: int = 1) -> Tensor:
    """The sum over rows of `columns` of the numbers, whose groups of rows take turns, `group_rows` rows each."""
    rows = error.codes.numel() // columns
    splits = min(SPLITS, triton.cdiv(rows, ROWS))
    share = triton.cdiv(triton.cdiv(rows, splits), ROWS) * ROWS
    sums = torch.empty((splits, columns), device=error.codes.device)
    _column_sums[splits, triton.cdiv(columns, COLUMNS)](
        *error, sums, rows, columns, error.low.numel(), group_rows, share, ROWS=ROWS, COLUMNS=COLUMNS
    )
    return sums.sum(0)


def _tiles(rows: int, columns: int) -> tuple[int, int]:
    return triton.cdiv(rows, ROWS), triton.cdiv(columns, COLUMNS)
