"""The devices of this machine, split into slots: one job runs in a slot at a time."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cpt_core.process import cores
from worker.settings import WorkerSettings

_COUNT_GPUS = "import torch; print(torch.cuda.device_count())"
_COUNT_SECONDS = 120.0
_DRIVERS = (Path("/dev/nvidiactl"), Path("/dev/dxg"))


@dataclass(frozen=True, slots=True)
class Slot:
    """A fixed set of devices."""

    number: int
    """From 0."""
    device: Literal["cpu", "cuda"]
    """Kind of the devices."""
    devices: int
    """How many; on a CPU the number of processes it accepts."""
    gpus: tuple[str, ...] = ()
    """Their names for CUDA_VISIBLE_DEVICES."""
    cores: int = 1
    """CPU cores that are this slot's share."""

    def environment(self, devices: int) -> dict[str, str]:
        """Environment variables that show training the first `devices` of the slot, and no others."""
        return {"CUDA_VISIBLE_DEVICES": ",".join(self.gpus[:devices])}

    def threads(self, devices: int) -> int:
        """Threads of each of `devices` processes."""
        return max(1, self.cores // devices)


def slots(settings: WorkerSettings) -> list[Slot]:
    """The slots of this worker.

    Raises:
        ValueError: there are not the devices that the settings ask for.
    """
    available = cores()
    gpus = [] if settings.device == "cpu" else visible_gpus()
    share = max(1, available // settings.slots)
    if gpus:
        each = settings.devices_per_slot or len(gpus) // settings.slots
        if each == 0 or each * settings.slots > len(gpus):
            wanted = f"{settings.slots} slots of {max(each, 1)}"
            raise ValueError(
                f"{wanted} GPUs do not fit: {len(gpus)} are visible; change CPT_SLOTS or CPT_DEVICES_PER_SLOT"
            )
        return [
            Slot(number, "cuda", each, gpus=tuple(gpus[number * each : (number + 1) * each]), cores=share)
            for number in range(settings.slots)
        ]
    if settings.device == "cuda":
        raise ValueError("CPT_DEVICE is cuda, but torch sees no GPU here")
    return [
        Slot(number, "cpu", settings.devices_per_slot or max(2, available), cores=share)
        for number in range(settings.slots)
    ]


def visible_gpus() -> list[str]:
    """Names, for CUDA_VISIBLE_DEVICES, of the GPUs that training would see.

    torch is asked in another process, so that this one stays small and holds no CUDA context.
    """
    if not any(driver.exists() for driver in _DRIVERS):
        return []
    answer = subprocess.run(
        [sys.executable, "-c", _COUNT_GPUS], capture_output=True, text=True, timeout=_COUNT_SECONDS, check=False
    )
    if answer.returncode != 0:
        last = answer.stderr.strip().rpartition("\n")[2]
        raise ValueError(f"torch cannot be asked for GPUs: {last}")
    count = int(answer.stdout)
    named = [part.strip() for part in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if part.strip()]
    return named[:count] or [str(number) for number in range(count)]
