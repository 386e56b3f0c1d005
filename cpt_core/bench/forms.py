"""The forms of a training step that are compared: the same model, prepared and run in different ways."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from cpt_core.bench.naive import BACKWARD_BITS, FORWARD_BITS, quantize_naively
from cpt_core.quant import native, quantize_model

BASE = "fp32"
"""The form that the others are compared with."""

NAIVE = "naive"
"""The form whose cost ours is to undercut."""


@dataclass(frozen=True, slots=True)
class Form:
    """A way to take the training steps of a model."""

    prepare: Callable[[nn.Module], None] = lambda _model: None
    """Changes the model, in place."""
    within: Callable[[], AbstractContextManager[object]] = nullcontext
    """What each step runs in."""
    available: Callable[[], bool] = lambda: True
    """Whether this machine can take it."""
    by_default: bool = True
    """Whether it is timed without being asked for: not what takes minutes to begin, or compares widths."""


def _bf16() -> AbstractContextManager[object]:
    # Backward and update run outside of it in torch's recipe; inside, autocast leaves them alone.
    return torch.autocast("cpu", dtype=torch.bfloat16)


def _has_bf16() -> bool:
    supported: bool = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return supported


def _quantized(model: nn.Module, backend: str, forward_bits: int = FORWARD_BITS) -> None:
    quantize_model(model, backend=backend).set(forward_bits, BACKWARD_BITS)


def _compiled(model: nn.Module) -> None:
    _quantized(model, "simulated")
    model.compile()


def _has_compiler() -> bool:
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler:
        return False
    return True


FORMS: dict[str, Form] = {
    BASE: Form(),
    "bf16": Form(within=_bf16, available=_has_bf16),
    NAIVE: Form(quantize_naively),
    "simulated, PyTorch only": Form(partial(_quantized, backend="simulated"), within=native.disabled),
    "simulated, torch.compile": Form(_compiled, available=_has_compiler, by_default=False),
    "simulated": Form(partial(_quantized, backend="simulated")),
    "int8": Form(partial(_quantized, backend="int8")),
    "int8, 3 bits forward": Form(partial(_quantized, backend="int8", forward_bits=3), by_default=False),
}
"""All forms, by name."""


def available() -> list[str]:
    """Names of the forms that this machine can take."""
    return [name for name, form in FORMS.items() if form.available()]


def defaults() -> list[str]:
    """Names of those that are timed without being asked for."""
    return [name for name in available() if FORMS[name].by_default]
