"""The quantisers and backends by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from cpt_core.quant import sbm


@dataclass(frozen=True, slots=True)
class Quantizer:
    """How a scheme rounds, as three functions of module level. `levels` is always 2^bits - 1 as a 0-d tensor."""

    weight: Callable[[Tensor, Tensor], Tensor]
    """(w, levels) -> the rounded weight; output channels come first."""
    activation: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
    """(x, levels, zero_point, span) -> the rounded input of a layer, whose minimum and range are given, both 0-d."""
    gradient: Callable[[Tensor, Tensor, Tensor | None], Tensor]
    """(g, levels, rounding) -> the rounded error at a layer's output; `rounding` is noise of U(-1/2, 1/2), or None."""


QUANTIZERS = {"sbm": Quantizer(sbm.weight, sbm.activation, sbm.gradient)}
BACKENDS = ("simulated",)


def find_quantizer(name: str) -> Quantizer:
    """The quantiser called `name`.

    Raises:
        ValueError: there is none.
    """
    if name not in QUANTIZERS:
        raise ValueError(f"unknown quantizer {name!r}: use one of {', '.join(QUANTIZERS)}")
    return QUANTIZERS[name]


def check_backend(name: str) -> None:
    """Raises ValueError unless there is a backend called `name`."""
    if name not in BACKENDS:
        raise ValueError(f"unknown backend {name!r}: use one of {', '.join(BACKENDS)}")
