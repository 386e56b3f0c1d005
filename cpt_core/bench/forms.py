"""The forms of a training step that are compared: the same model, prepared and run in different ways."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from cpt_core import onednn
from cpt_core.bench.naive import BACKWARD_BITS, FORWARD_BITS, quantize_naively
from cpt_core.quant import gpu, native, quantize_model
from cpt_core.quant.integer import InputGradient, fp8_products

BASE = "fp32"
"""The form that the others are compared with."""

NAIVE = "naive"
"""The form whose cost ours is to undercut."""


@dataclass(frozen=True, slots=True)
class Form:
    """A way to take the training steps of a model."""

    prepare: Callable[[nn.Module], None] = lambda _model: None
    """Changes the model, in place."""
    within: Callable[[str], AbstractContextManager[object]] = lambda device: _fp32(device)
    """What each step runs in on a kind of device, "cpu" or "cuda"; by default what a training does, without TF32."""
    available: Callable[[str], bool] = lambda _device: True
    """Whether this machine's device of a kind can take it."""
    graphed: bool = False
    """Whether a GPU replays its passes as CUDA graphs, as a training does."""
    by_default: bool = True
    """Whether it is timed without being asked for: not what takes minutes to begin, or compares widths."""


def _bf16(device: str) -> AbstractContextManager[object]:
    # Backward and update run outside of it in torch's recipe; inside, autocast leaves them alone. CUDA graphs want no
    # cache of rounded weights; a step uses each weight once.
    return torch.autocast(device, dtype=torch.bfloat16, cache_enabled=device != "cuda")


def _has_bf16(device: str) -> bool:
    supported: bool = (
        torch.cuda.is_bf16_supported() if device == "cuda" else torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )
    return supported


def _fp32(device: str) -> AbstractContextManager[object]:
    return _taking_tf32(False) if device == "cuda" else onednn.linear_layers()


@contextmanager
def _pytorch_only(device: str) -> Iterator[None]:
    with _fp32(device), native.disabled():  # a training without C++ functions has the same products as one with them
        yield


@contextmanager
def _taking_tf32(allowed: bool) -> Iterator[None]:
    # torch lets cuDNN's convolutions, though not its matrix products, take TF32 unless told otherwise.
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    before = products.allow_tf32, convolutions.allow_tf32
    products.allow_tf32 = convolutions.allow_tf32 = allowed
    try:
        yield
    finally:
        products.allow_tf32, convolutions.allow_tf32 = before


def _is_gpu(device: str) -> bool:
    return device == "cuda"


def _has_fp8(device: str) -> bool:
    return fp8_products.lacking(torch.device(device)) is None


def _quantized(
    model: nn.Module, backend: str, forward_bits: int = FORWARD_BITS, input_gradient: InputGradient = "exact"
) -> None:
    quantize_model(model, backend=backend, input_gradient=input_gradient).set(forward_bits, BACKWARD_BITS)


def _compiled(model: nn.Module) -> None:
    _quantized(model, "simulated")
    model.compile()


def _has_compiler(device: str) -> bool:
    if device == "cuda":
        return gpu.takes(torch.device(device))  # Triton is the compiler
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler:
        return False
    return True


FORMS: dict[str, Form] = {
    BASE: Form(graphed=True),
    "fp32, torch's products": Form(
        within=lambda _device: nullcontext(),
        available=lambda device: device == "cpu" and onednn.pays(),
    ),
    "tf32": Form(within=lambda _device: _taking_tf32(True), available=_is_gpu, graphed=True),
    "bf16": Form(within=_bf16, available=_has_bf16, graphed=True),
    NAIVE: Form(quantize_naively, within=lambda _device: nullcontext()),
    "simulated, PyTorch only": Form(partial(_quantized, backend="simulated"), within=_pytorch_only),
    "simulated, torch.compile": Form(
        _compiled, within=lambda _device: nullcontext(), available=_has_compiler, by_default=False
    ),
    "simulated": Form(partial(_quantized, backend="simulated"), graphed=True),
    "int8": Form(partial(_quantized, backend="int8"), graphed=True),
    "int8, fast input gradients": Form(
        partial(_quantized, backend="int8", input_gradient="fast"), graphed=True, by_default=False
    ),
    "fp8": Form(partial(_quantized, backend="fp8"), available=_has_fp8, graphed=True, by_default=False),
    "int8, 3 bits forward": Form(partial(_quantized, backend="int8", forward_bits=3), graphed=True, by_default=False),
    "fp32, no graph": Form(available=_is_gpu),
    "simulated, no graph": Form(partial(_quantized, backend="simulated"), available=_is_gpu),
    "int8, no graph": Form(partial(_quantized, backend="int8"), available=_is_gpu),
}
"""All forms, by name."""


def available(device: str = "cpu") -> list[str]:
    """Names of the forms that this machine's device of a kind can take."""
    return [name for name, form in FORMS.items() if form.available(device)]


def defaults(device: str = "cpu") -> list[str]:
    """Names of those that are timed without being asked for."""
    return [name for name in available(device) if FORMS[name].by_default]
