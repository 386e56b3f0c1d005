"""Sizes of the tiles that products are made of: a few are tried on a GPU, for each shape once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import triton

from cpt_core.quant import gpu

CHUNK = 2**16
"""Terms summed in int32 before they are added up in float32: products of signed bytes are 2^14 at most, so twice as
many could overflow."""

GPU_TILES = (
    (128, 128, 128, 8), (128, 64, 64, 4), (64, 64, 128, 4), (64, 64, 64, 4), (128, 32, 32, 4), (64, 32, 32, 4),
)  # fmt: skip
"""(BLOCK_M, BLOCK_N, BLOCK_K, warps)."""

SMALLEST = 32
"""Side below which no tile goes."""

INTERPRETER_TILES = ((64, 64, 64, 1),)


def tuned(key: list[str], shape: tuple[str, str, str]) -> Callable[[Any], Any]:
    """Try tiles of BLOCK_M x BLOCK_N with BLOCK_K terms for each value of the arguments `key`.

    Which is chosen changes no bit of a result: sums are exact whatever the tile. Those that would stand out of the
    product, whose rows, columns and terms the arguments `shape` are, are not tried.
    """
    sizes = INTERPRETER_TILES if gpu.interpreting() else GPU_TILES
    configs = [
        triton.Config({"BLOCK_M": m, "BLOCK_N": n, "BLOCK_K": k}, num_warps=warps, num_stages=3)
        for m, n, k, warps in sizes
    ]

    def fitting(all_configs: list[Any], arguments: dict[str, Any], **_: Any) -> list[Any]:
        most = dict(zip(("BLOCK_M", "BLOCK_N", "BLOCK_K"), (arguments[name] for name in shape), strict=True))
        return [
            config for config in all_configs if all(_fits(config.kwargs[name], most[name]) for name in most)
        ] or all_configs[-1:]

    tune: Callable[[Any], Any] = triton.autotune(
        configs=configs, key=key, prune_configs_by={"early_config_prune": fitting}
    )
    return tune


def _fits(side: int, size: int) -> bool:
    """Whether no smaller power of two holds all of `size`, or the side is the smallest."""
    return side <= SMALLEST or side < 2 * size
