"""Where Triton's kernels run: NVIDIA GPUs since Ampere, and any CPU in Triton's interpreter, which is for tests.

The interpreter is chosen by TRITON_INTERPRET=1 in the environment of the process, before triton is imported; then the
kernels take the place of the C++ functions on the CPU. It is slow, and computes what a GPU does.
"""

from __future__ import annotations

import importlib.util
import os
from functools import cache

import torch

_INTERPRETING = os.environ.get("TRITON_INTERPRET") == "1"
MIN_CAPABILITY = (8, 0)
"""Compute capability from which Triton supports a GPU, and integer products pay."""


def takes(device: torch.device) -> bool:
    """Whether Triton's kernels run on the device."""
    if device.type == "cpu":
        return interpreting()
    return device.type == "cuda" and _supported(device.index)


def interpreting() -> bool:
    """Whether the kernels of this process run in Triton's interpreter."""
    return _INTERPRETING and _installed()


@cache
def _installed() -> bool:
    return importlib.util.find_spec("triton") is not None


@cache
def _supported(index: int | None) -> bool:
    of_nvidia = torch.version.cuda is not None
    return of_nvidia and _installed() and torch.cuda.get_device_capability(index) >= MIN_CAPABILITY
