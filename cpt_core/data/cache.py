"""Tensors that were worked out from data files once. A cache that cannot be read or written is as good as none."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor


class Cache:
    """One entry of a cache folder: a safetensors file."""

    def __init__(self, folder: Path | None, name: str) -> None:
        """The entry `name`, which says all that its content depends on; without a folder nothing is kept."""
        self._path = None if folder is None else folder / f"{name}.safetensors"

    def read(self) -> dict[str, Tensor] | None:
        """The tensors, if they are kept and whole."""
        if self._path is None:
            return None
        try:
            os.utime(self._path)  # what is used least is deleted first where there is a limit
            return safetensors.torch.load_file(self._path)
        except (OSError, SafetensorError):
            return None

    def write(self, tensors: dict[str, Tensor]) -> None:
        """Keep the tensors. Other processes see all of the file or nothing."""
        if self._path is None:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            descriptor, partial = tempfile.mkstemp(dir=self._path.parent, suffix=".partial")
        except OSError:
            return
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(safetensors.torch.save(tensors))
            Path(partial).replace(self._path)
        except OSError:
            Path(partial).unlink(missing_ok=True)
