"""What takes the SBM quantiser's passes over a tensor in one go: C++ on a CPU, Triton on a GPU."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from cpt_core.quant import gpu, native


class Passes(Protocol):
    """The functions that `native` and `triton_passes` share, for tensors that lie without gaps in memory."""

    def tensor_range(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """As `native.tensor_range`."""

    def group_ranges(self, x: Tensor, groups: int, outer: int = 1) -> tuple[Tensor, Tensor]:
        """As `native.group_ranges`."""

    def round_affine(
        self, x: Tensor, zero_point: Tensor, span: Tensor, levels: Tensor, seed: Tensor | None = None, outer: int = 1
    ) -> Tensor:
        """As `native.round_affine`."""

    def codes(
        self, x: Tensor, zero_point: Tensor, span: Tensor, levels: Tensor, seed: Tensor | None = None, outer: int = 1
    ) -> Tensor:
        """As `native.codes`."""

    def round_rows(self, x: Tensor, rows: int, levels: Tensor, seed: Tensor | None = None) -> Tensor:
        """As `native.round_rows`."""


def passes(x: Tensor) -> Passes | None:
    """What takes `x`; None where the PyTorch code has to.

    It does for other types than float32, tensors with gaps, and inside torch.compile, which fuses it itself.
    """
    if native.is_disabled() or torch.compiler.is_compiling() or not native.is_plain(x):
        return None
    if gpu.takes(x.device):
        from cpt_core.quant import triton_passes  # needs triton, which not all have

        return triton_passes
    return native if native.available() and x.is_cpu else None
