"""The SBM quantiser's passes over memory as C++ functions, for float32 on a CPU.

Equal to the PyTorch code bit for bit, and built with the package where there is a C++ compiler (`native.cpp`). Without
it, for other types and devices, and inside torch.compile, which fuses the PyTorch code itself, nothing here is used.
"""

from __future__ import annotations

import ctypes
import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


def _load() -> ctypes.CDLL | None:
    # setuptools builds it as an extension module, but it is a plain library, so any Python can load it.
    found = importlib.util.find_spec("cpt_core.quant._native")
    if found is None or found.origin is None:
        return None
    try:
        library = ctypes.CDLL(found.origin)
    except OSError:  # built for another machine
        return None
    pointer, count = ctypes.c_void_p, ctypes.c_int64
    for name, arguments in {
        "cpt_range": [pointer, count, pointer, pointer],
        "cpt_round": [pointer, pointer, count, pointer, pointer, pointer, pointer],
        "cpt_round_rows": [pointer, pointer, count, count, pointer, pointer],
    }.items():
        function = getattr(library, name)
        function.argtypes, function.restype = arguments, None
    return library


_library = _load()
_enabled = True


def available() -> bool:
    """Whether the C++ functions were built."""
    return _library is not None


@contextmanager
def disabled() -> Iterator[None]:
    """Inside, the PyTorch code does all of it. For comparisons; not for several threads."""
    global _enabled
    before, _enabled = _enabled, False
    try:
        yield
    finally:
        _enabled = before


def takes(x: Tensor) -> bool:
    """Whether the functions below take `x`: float32 on the CPU, without gaps, contiguous or channels-last."""
    return (
        _enabled
        and _library is not None
        and not torch.compiler.is_compiling()
        and x.dtype == torch.float32
        and x.device.type == "cpu"
        and x.numel() > 0
        and (x.is_contiguous() or (x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last)))
    )


def tensor_range(x: Tensor) -> tuple[Tensor, Tensor]:
    """Minimum and range of all elements, 0-d; NaN where there is one."""
    low, span = x.new_empty(()), x.new_empty(())
    _functions().cpt_range(x.data_ptr(), x.numel(), low.data_ptr(), span.data_ptr())
    return low, span


def round_affine(x: Tensor, zero_point: Tensor, span: Tensor, levels: Tensor, seed: Tensor | None = None) -> Tensor:
    """`x` on the grid of `levels` steps from `zero_point` to `zero_point + span`; with a seed, stochastically.

    `zero_point` and `span` are 0-d float32, `levels` 0-d int32, `seed` 0-d int64.
    """
    y = torch.empty_like(x)
    _functions().cpt_round(
        x.data_ptr(),
        y.data_ptr(),
        x.numel(),
        zero_point.data_ptr(),
        span.data_ptr(),
        levels.data_ptr(),
        None if seed is None else seed.data_ptr(),
    )
    return y


def round_rows(x: Tensor, rows: int, levels: Tensor, seed: Tensor | None = None) -> Tensor:
    """As `round_affine`, each of the `rows` equal parts of `x` in memory on its own range."""
    y = torch.empty_like(x)
    _functions().cpt_round_rows(
        x.data_ptr(),
        y.data_ptr(),
        rows,
        x.numel() // rows,
        levels.data_ptr(),
        None if seed is None else seed.data_ptr(),
    )
    return y


def _functions() -> ctypes.CDLL:
    if _library is None:
        raise RuntimeError("the C++ functions of cpt_core.quant were not built")
    return _library
