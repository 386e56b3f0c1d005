"""The memory that training took."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import torch


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
