"""The memory that training takes, and took."""

from __future__ import annotations

import ctypes
import resource
import sys
from pathlib import Path

import torch

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
"""Parameters of glibc's mallopt."""


def keep_freed_memory() -> None:
    """Have glibc keep what tensors free for the tensors of the next step; elsewhere do nothing.

    By default it gives large blocks back to the system, and a step then waits for their pages again: outputs of some
    MiB take up to three times as long. A higher M_MMAP_THRESHOLD is not enough: it ends at 32 MiB, which the outputs of
    MobileNetV2 at batch 128 and the logits of a language model exceed.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def peak(device: torch.device) -> int:
    """Most bytes so far: on a GPU those of tensors there, on a CPU the resident set of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        # Not getrusage where this can be had: there a process inherits the peak of the one that started it.
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")) * 1024
    except (OSError, StopIteration):
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return used if sys.platform == "darwin" else used * 1024
