"""Bit widths over steps, as a picture of text."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence

SHADES = " ░▒▓█"


def bits_chart(bits: Sequence[int], width: int) -> list[str]:
    """The bit widths of successive steps as lines of at most `width` columns, one line a width, the highest first.

    A column stands for its share of the steps; the darker a cell, the more of them have the line's width.
    """
    columns = min(width, len(bits))
    edges = [len(bits) * i // columns for i in range(columns + 1)]
    shares = [Counter(bits[begin:end]) for begin, end in itertools.pairwise(edges)]
    return [f"{level:>2} " + "".join(_shade(column, level) for column in shares) for level in sorted(set(bits))[::-1]]


def _shade(column: Counter[int], level: int) -> str:
    # Rounded up: what occurs is seen.
    return SHADES[-(-(len(SHADES) - 1) * column[level] // column.total())]
