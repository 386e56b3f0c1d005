"""Sizes of the tiles that products are made of: a few are tried on a GPU, for each shape once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import triton

from cpt_core.quant import gpu

CHUNK = 2**16
"""Terms summed in int32 before they are added up in float32: products of signed bytes are 2^14 at most, so twice as
many could overflow."""

GPU_TILES = ((128, 128, 64, 8), (128, 64, 64, 4), (64, 128, 64, 4), (64, 64, 64, 4), (64, 64, 128, 4))
INTERPRETER_TILES = ((64, 64, 64, 1),)


def tuned(key: list[str]) -> Callable[[Any], Any]:
    """Try tiles of BLOCK_M x BLOCK_N with BLOCK_K terms for each value of the arguments `key`.

    Which is chosen changes no bit of a result: sums are exact whatever the tile.
    """
    sizes = INTERPRETER_TILES if gpu.interpreting() else GPU_TILES
    configs = [
        triton.Config({"BLOCK_M": m, "BLOCK_N": n, "BLOCK_K": k}, num_warps=warps, num_stages=3)
        for m, n, k, warps in sizes
    ]
    tune: Callable[[Any], Any] = triton.autotune(configs=configs, key=key)
    return tune
