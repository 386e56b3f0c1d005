"""The quantisers and backends by name."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from cpt_core.quant import sbm


class Quantizer(Protocol):
    """How a scheme rounds. `levels` is 2^bits - 1 as a 0-d tensor; a module with these functions is a quantiser."""

    def weight(self, w: Tensor, levels: Tensor) -> Tensor:
        """The rounded weight; output channels come first."""

    def activation(self, x: Tensor, levels: Tensor, zero_point: Tensor, span: Tensor) -> Tensor:
        """The rounded input of a layer, whose observed minimum and range are `zero_point` and `span`, both 0-d."""

    def gradient(self, g: Tensor, levels: Tensor, rounding: Tensor | None) -> Tensor:
        """The rounded error at a layer's output; `rounding` is noise of U(-1/2, 1/2), or None for none."""


QUANTIZERS: dict[str, Quantizer] = {"sbm": sbm}
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
