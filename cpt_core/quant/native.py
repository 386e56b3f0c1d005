"""The SBM quantiser's passes over memory as C++ functions, for float32 on a CPU.

Equal to the PyTorch code bit for bit, and built with the package where there is a C++ compiler (`native.cpp`). Without
it, for other types and devices, and inside torch.compile, which fuses the PyTorch code itself, nothing here is used.
"""

from __future__ import annotations

import ctypes
import importlib.util
from collections.abc import Callable, Iterator
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
    for name, arguments in _ARGUMENTS.items():
        function = getattr(library, name)
        function.argtypes, function.restype = [_KINDS[kind] for kind in arguments], None
    library.cpt_instructions.restype = ctypes.c_char_p
    library.cpt_keep_weight.restype = ctypes.c_void_p
    return library


_KINDS = {"p": ctypes.c_void_p, "n": ctypes.c_int64, "i": ctypes.c_int32, "f": ctypes.c_float, "d": ctypes.c_double}
_ARGUMENTS = {
    "cpt_range": "pnpp",
    "cpt_group_ranges": "pnnnpp",
    "cpt_round": "ppnnnpppp",
    "cpt_codes": "ppnnnpppp",
    "cpt_round_rows": "ppnnpp",
    "cpt_observe": "ppppff",
    "cpt_transpose": "ppnn",
    "cpt_lstm_step": "pppppppnn",
    "cpt_lstm_step_back": "ppppppnn",
    "cpt_linear": "pppp" "ppp" "pp" "nnn",
    "cpt_linear_backward": "pppp" "nn" "ppp" "pppp" "i" "ppp" "nnn",
    "cpt_keep_weight": "pppp" "nn" "ii",
    "cpt_free_weight": "p",
    "cpt_linear_kept": "p" "ppp" "pp" "nn",
    "cpt_input_gradient_kept": "p" "pppp" "p" "nn",
    "cpt_convolution": "p" "ppp" "pppp" "pp",
    "cpt_convolution_backward": "p" "pppp" "ppp" "pppp" "i" "ppp",
    "cpt_batch_norm": "pp" "i" "pp" "d" "ppp" "ppp" "ppp" "ppp" "f" "nn",
    "cpt_batch_norm_backward": "pppp" "pppppp" "ppppp" "nn",
    "cpt_max_pool": "pppp",
    "cpt_max_pool_backward": "pppp",
    "cpt_rectify": "pppn",
    "cpt_rectify_backward": "pppn",
}  # fmt: skip
"""The kind of each argument of a function: a pointer, a count of 64 bits, an integer of 32, a float, a double."""

_library = _load()
_enabled = True

INSTRUCTIONS = ("AVX512-VNNI", "AVX512", "AVX-VNNI", "AVX2", "none")
"""What integer products can take, the best first; "none": plain C++, in the layout of AVX512-VNNI's."""


def available() -> bool:
    """Whether the C++ functions were built."""
    return _library is not None


def is_disabled() -> bool:
    """Whether this is inside `disabled`."""
    return not _enabled


def enabled() -> bool:
    """Whether the C++ functions were built, and may be used here: not inside `disabled`."""
    return _enabled and _library is not None


def instructions() -> str:
    """The instruction set that integer products take: one of `INSTRUCTIONS`."""
    return "none" if _library is None else _library.cpt_instructions().decode()


@contextmanager
def disabled() -> Iterator[None]:
    """Inside, the PyTorch code does all of it, also what Triton would. For comparisons; not for several threads."""
    global _enabled
    before, _enabled = _enabled, False
    try:
        yield
    finally:
        _enabled = before


@contextmanager
def products_by(name: str) -> Iterator[bool]:
    """Inside, integer products take the instruction set `name`, if this machine has it: that is what is yielded.

    For tests; not for several threads.
    """
    try:
        yield bool(functions().cpt_use_instructions(name.encode()))
    finally:
        functions().cpt_use_instructions(None)


def takes(x: Tensor) -> bool:
    """Whether the functions below take `x`: a plain one on the CPU."""
    return is_plain(x) and x.is_cpu and enabled() and not torch.compiler.is_compiling()


def is_plain(x: Tensor) -> bool:
    """Whether `x` is of float32, not empty and without gaps, contiguous or channels-last."""
    return (
        x.dtype == torch.float32
        and (x.is_contiguous() or (x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last)))
        and x.numel() > 0
    )


def tensor_range(x: Tensor) -> tuple[Tensor, Tensor]:
    """Minimum and range of all elements, 0-d; NaN where there is one."""
    low, span = x.new_empty(()), x.new_empty(())
    functions().cpt_range(x.data_ptr(), x.numel(), low.data_ptr(), span.data_ptr())
    return low, span


def group_ranges(x: Tensor, groups: int, outer: int = 1) -> tuple[Tensor, Tensor]:
    """Minimum and range of each group of `x`, which is (outer, groups, anything) in memory; each is 1-d."""
    low, span = x.new_empty(groups), x.new_empty(groups)
    functions().cpt_group_ranges(
        x.data_ptr(), outer, groups, x.numel() // (outer * groups), low.data_ptr(), span.data_ptr()
    )
    return low, span


def round_affine(
    x: Tensor, zero_point: Tensor, span: Tensor, levels: Tensor, seed: Tensor | None = None, outer: int = 1
) -> Tensor:
    """`x` on the grids of `levels` steps from `zero_point` to `zero_point + span`; with a seed, stochastically.

    `zero_point` and `span` are float32: one number for all of `x`, or one for each group as in `group_ranges`;
    `levels` is 0-d int32, `seed` 0-d int64.
    """
    y = torch.empty_like(x)
    _on_grids(functions().cpt_round, x, y, zero_point, span, levels, seed, outer)
    return y


def codes(
    x: Tensor, zero_point: Tensor, span: Tensor, levels: Tensor, seed: Tensor | None = None, outer: int = 1
) -> Tensor:
    """As `round_affine`, the codes, at most 255, as uint8."""
    y = torch.empty_like(x, dtype=torch.uint8)
    _on_grids(functions().cpt_codes, x, y, zero_point, span, levels, seed, outer)
    return y


def _on_grids(
    function: Callable[..., None],
    x: Tensor,
    y: Tensor,
    zero_point: Tensor,
    span: Tensor,
    levels: Tensor,
    seed: Tensor | None,
    outer: int,
) -> None:
    groups = zero_point.numel()
    function(
        x.data_ptr(),
        y.data_ptr(),
        outer,
        groups,
        x.numel() // (outer * groups),
        zero_point.data_ptr(),
        span.data_ptr(),
        levels.data_ptr(),
        at(seed),
    )


def round_rows(x: Tensor, rows: int, levels: Tensor, seed: Tensor | None = None) -> Tensor:
    """As `round_affine`, each of the `rows` equal parts of `x` in memory on its own range."""
    y = torch.empty_like(x)
    functions().cpt_round_rows(
        x.data_ptr(),
        y.data_ptr(),
        rows,
        x.numel() // rows,
        levels.data_ptr(),
        at(seed),
    )
    return y


def lstm_step(*tensors: Tensor) -> None:
    """`gates.step`, whose tensors must all be contiguous and float32."""
    *_, hidden = tensors
    functions().cpt_lstm_step(*(tensor.data_ptr() for tensor in tensors), *hidden.shape)


def lstm_step_back(*tensors: Tensor) -> None:
    """`gates.step_back`, whose tensors must all be contiguous and float32."""
    *_, d_cell = tensors
    functions().cpt_lstm_step_back(*(tensor.data_ptr() for tensor in tensors), *d_cell.shape)


def observe(running: tuple[Tensor, Tensor], observed: tuple[Tensor, Tensor], momentum: float) -> None:
    """Move running numbers towards those observed: each becomes itself x momentum + what was observed x the rest."""
    pointers = (number.data_ptr() for number in (*running, *observed))
    functions().cpt_observe(*pointers, momentum, 1 - momentum)


def transposed(x: Tensor) -> Tensor:
    """A matrix transposed, and contiguous: on a CPU in a fraction of the time of torch's, which takes one thread."""
    if not takes(x):
        return x.t().contiguous()
    rows, columns = x.shape
    y = x.new_empty(columns, rows)
    functions().cpt_transpose(x.data_ptr(), y.data_ptr(), rows, columns)
    return y


def positions(size: int, kernel: int, stride: int, padding: int) -> int:
    """How often a window fits along an axis of `size`."""
    return (size + 2 * padding - kernel) // stride + 1


def at(x: Tensor | None) -> int | None:
    """Where a tensor's numbers lie, as the functions take it."""
    return None if x is None else x.data_ptr()


def functions() -> ctypes.CDLL:
    """The library, where it was built."""
    if _library is None:
        raise RuntimeError("the C++ functions of cpt_core.quant were not built")
    return _library
