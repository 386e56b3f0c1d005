"""The quantisers and backends by name."""

from __future__ import annotations

import torch

from cpt_core.quant import dorefa, sbm, wageubn
from cpt_core.quant.integer import fp8_products
from cpt_core.quant.quantizer import Quantizer

QUANTIZERS = {"sbm": sbm.QUANTIZER, "dorefa": dorefa.QUANTIZER, "wageubn": wageubn.QUANTIZER}
BACKENDS = ("simulated", "int8", "fp8", "auto")


class BackendError(ValueError):
    """A backend that there is not, or not here; the message says what to use instead."""


def find_quantizer(name: str) -> Quantizer:
    """The quantiser called `name`.

    Raises:
        ValueError: there is none.
    """
    if name not in QUANTIZERS:
        raise ValueError(f"unknown quantizer {name!r}: use one of {', '.join(QUANTIZERS)}")
    return QUANTIZERS[name]


def check_backend(name: str, quantizer: str, device: torch.device) -> None:
    """Raises BackendError unless there is a backend called `name` on that device, and it can take that quantizer."""
    if name not in BACKENDS:
        raise BackendError(f"unknown backend {name!r}: use one of {', '.join(BACKENDS)}")
    if name in ("int8", "fp8") and quantizer != "sbm":
        raise BackendError(f"backend {name!r} takes the quantizer 'sbm', not {quantizer!r}: use 'auto' or 'simulated'")
    if name == "fp8" and (lacking := fp8_products.lacking(device)):
        raise BackendError(f"backend 'fp8' needs {lacking}: use 'int8' or 'auto'")
