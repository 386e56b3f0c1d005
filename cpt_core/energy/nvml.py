"""NVML, the energy counters of NVIDIA GPUs since Volta, through the package nvidia-ml-py (module `pynvml`)."""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from functools import partial
from types import ModuleType
from typing import Any

from cpt_core.energy.counter import Counter, UnavailableError


def open_nvml(devices: Sequence[int], library: ModuleType | None = None) -> tuple[str, list[Counter]]:
    """What is measured, in words, and one counter per GPU.

    Args:
        devices: CUDA's numbers of the GPUs. CUDA_VISIBLE_DEVICES is applied; without it NVML's order, that of the PCI
            bus, must be CUDA's, which it is on machines with one kind of GPU.
        library: the module `pynvml`; by default the installed one.

    Raises:
        UnavailableError: the package, the driver or the counter is missing.
    """
    if library is None:
        try:
            library = importlib.import_module("pynvml")
        except ImportError as error:
            raise UnavailableError("the package nvidia-ml-py is not installed") from error
    try:
        library.nvmlInit()
        handles = [_handle(library, device) for device in devices]
        # NVML counts millijoules since the driver was loaded, in 64 bits.
        counters = [Counter(partial(_millijoules, library, handle), 1e-3) for handle in handles]
    except (library.NVMLError, OSError) as error:
        raise UnavailableError(f"NVML: {error}") from error
    return f"GPU {', '.join(map(str, devices))}, all processes on it", counters


def _handle(library: ModuleType, device: int) -> Any:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",") if visible else [str(index) for index in range(device + 1)]
    if device >= len(names):
        raise UnavailableError(f"there is no GPU {device}: CUDA_VISIBLE_DEVICES is {visible}")
    name = names[device].strip()
    if name.isdigit():
        return library.nvmlDeviceGetHandleByIndex(int(name))
    return library.nvmlDeviceGetHandleByUUID(name)


def _millijoules(library: ModuleType, handle: Any) -> int:
    try:
        return int(library.nvmlDeviceGetTotalEnergyConsumption(handle))
    except library.NVMLError as error:
        raise OSError(f"NVML: {error}") from error
