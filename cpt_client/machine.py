"""Checks of the machine that this runs on, without torch: its GPUs, and counters that measure energy."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess

from cpt_client.stack import Check
from cpt_core.energy import open_meter

SMI_SECONDS = 20.0
"""What a driver that hangs is given."""


def checks_here() -> list[Check]:
    """All of them."""
    names = _gpu_names()
    return [_gpu(names), _energy(has_gpu=isinstance(names, list) and bool(names))]


def _gpu_names() -> list[str] | str | None:
    """The GPUs by nvidia-smi; None: there is no driver; a text: why it does not answer."""
    if shutil.which("nvidia-smi") is None:
        return None
    query = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=SMI_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"nvidia-smi does not answer: {error}"
    if done.returncode:
        return (done.stdout + done.stderr).strip() or f"nvidia-smi ended with {done.returncode}"
    return done.stdout.strip().splitlines()


def _gpu(names: list[str] | str | None) -> Check:
    if isinstance(names, str):
        remedy = "install or reload the NVIDIA driver; until then training takes the CPU"
        return _check("gpu", "failed", names, remedy)
    if not names:
        return _check("gpu", "ok", "no NVIDIA GPU: training takes the CPU")
    found = "; ".join(names)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and visible.strip() in ("", "-1"):
        remedy = "unset CUDA_VISIBLE_DEVICES where the worker starts"
        return _check("gpu", "warning", f"{found}, hidden by CUDA_VISIBLE_DEVICES={visible}", remedy)
    torch = _version("torch")
    if torch is not None and torch.endswith("+cpu"):
        remedy = "install torch's CUDA build, see https://pytorch.org/get-started/locally"
        return _check("gpu", "warning", f"{found}, but torch {torch} cannot use it", remedy)
    return _check("gpu", "ok", found if torch else f"{found}; torch is not installed here")


def _energy(*, has_gpu: bool) -> Check:
    meter = open_meter("cuda" if has_gpu else "cpu")
    if meter.joules() is not None:
        return _check("energy", "ok", f"measured by {meter.source.source}: {meter.source.scope}")
    reason = meter.source.reason or "the counter does not answer"
    if "nvidia-ml-py" in reason:
        remedy = "pip install nvidia-ml-py"
    elif "may not be read" in reason:
        remedy = "let the worker's user read it: chmod a+r /sys/class/powercap/intel-rapl*/energy_uj, as root"
    else:
        remedy = "without a counter measured energy is null with this reason; the modelled figure is there all the same"
    return _check("energy", "warning", reason, remedy)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _check(name: str, status: str, message: str, remedy: str | None = None) -> Check:
    return Check(name=name, where="here", status=status, message=message, remedy=remedy)
