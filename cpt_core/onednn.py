"""Products of float32 linear layers by oneDNN, where the library that torch takes for them is slow.

torch multiplies float32 matrices by MKL on x86-64, which on AMD's processors with AVX512 leaves its fast code unused.
oneDNN, of which torch's convolutions are made, does not ask who made the processor: a linear layer and its two
gradients take half the time there. docs/benchmarks.md has the measurements.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from cpt_core.quant import native

_OF_TORCH = F.linear

WORTHWHILE = 1 << 22
"""Multiply-accumulates of a product from which on laying out its operands pays."""


@contextmanager
def linear_layers() -> Iterator[None]:
    """Inside, `torch.nn.functional.linear`, whoever calls it, takes oneDNN where that pays; elsewhere nothing changes.

    Results differ from MKL's in the last bits, as those of any two libraries; on one machine they are always the same.
    The function is replaced, for all threads: a mode of torch's does not reach the projections of its attention.
    """
    before = F.linear
    if pays():
        F.linear = _linear_where_worthwhile
    try:
        yield
    finally:
        F.linear = before


@cache
def pays() -> bool:
    """Whether this machine is one where oneDNN is the faster: an AMD processor with AVX512, under Linux."""
    has = torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if not has or torch.backends.cpu.get_cpu_capability() != "AVX512":
        return False
    try:
        return "AuthenticAMD" in Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False


def _linear_where_worthwhile(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:  # noqa: A002
    return linear(input, weight, bias) if _takes(input, weight) else _OF_TORCH(input, weight, bias)


def _takes(x: Tensor, weight: Tensor) -> bool:
    return (
        x.dtype == weight.dtype == torch.float32
        and x.device.type == "cpu"
        and x.numel() * len(weight) >= WORTHWHILE
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
    )


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`torch.nn.functional.linear` of float32 tensors on the CPU: (..., n) from x (..., k) and weight (n, k)."""
    y: Tensor = _Linear.apply(x, weight, bias)
    return y


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _product(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        of_x, of_weight, of_bias = ctx.needs_input_grad
        errors, inputs = g.reshape(-1, g.shape[-1]), x.reshape(-1, x.shape[-1])
        dx = _product(errors, weight.t()).view(x.shape) if of_x else None
        dweight = _weight_gradient(errors, inputs) if of_weight else None
        return dx, dweight, errors.sum(0) if of_bias else None


def weight_gradient(errors: Tensor, inputs: Tensor) -> Tensor:
    """The gradient of a weight, (n, k), from errors (rows, n) and inputs (rows, k); as `linear_layers` has it."""
    if F.linear is _OF_TORCH or not _takes(errors.t(), inputs.t()):
        return torch.mm(errors.t(), inputs)
    return _weight_gradient(errors, inputs)


def _weight_gradient(errors: Tensor, inputs: Tensor) -> Tensor:
    errors, inputs = errors.t(), inputs.t()
    # Of more outputs than inputs the product is faster the other way round: it is its first operand that is copied.
    if len(errors) > len(inputs):
        return native.transposed(_product(inputs, errors))
    return _product(errors, inputs)


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    # An operation that torch.compile emits; the pinned version of torch has it.
    y: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return y
