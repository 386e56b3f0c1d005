"""The quantisers and backends by name."""

from __future__ import annotations

from cpt_core.quant import dorefa, sbm, wageubn
from cpt_core.quant.quantizer import Quantizer

QUANTIZERS = {"sbm": sbm.QUANTIZER, "dorefa": dorefa.QUANTIZER, "wageubn": wageubn.QUANTIZER}
BACKENDS = ("simulated", "int8", "auto")


def find_quantizer(name: str) -> Quantizer:
    """The quantiser called `name`.

    Raises:
        ValueError: there is none.
    """
    if name not in QUANTIZERS:
        raise ValueError(f"unknown quantizer {name!r}: use one of {', '.join(QUANTIZERS)}")
    return QUANTIZERS[name]


def check_backend(name: str, quantizer: str) -> None:
    """Raises ValueError unless there is a backend called `name`, and it can take that quantizer."""
    if name not in BACKENDS:
        raise ValueError(f"unknown backend {name!r}: use one of {', '.join(BACKENDS)}")
    if name == "int8" and quantizer != "sbm":
        raise ValueError(f"backend 'int8' takes the quantizer 'sbm', not {quantizer!r}: use 'auto' or 'simulated'")
