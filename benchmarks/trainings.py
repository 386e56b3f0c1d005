"""Short trainings of a published recipe on random images, for what is measured around a step."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
from kept import ROOT

from cpt_core.spec import JobSpec, load

FOLDER = "random-images"
"""Name of the dataset, below the data root."""


def write_images(data_root: Path, *, train: int, test: int) -> None:
    """Write random idx files of the form of Fashion-MNIST: 28 x 28 grey pixels, ten classes."""
    folder = data_root / FOLDER
    folder.mkdir()
    random = np.random.default_rng(0)
    for split, count in (("train", train), ("t10k", test)):
        images = random.integers(256, size=(count, 28, 28), dtype=np.uint8)
        labels = np.arange(count, dtype=np.uint8) % 10
        for name, values in (("images-idx3", images), ("labels-idx1", labels)):
            header = bytes((0, 0, 8, values.ndim)) + struct.pack(f">{values.ndim}I", *values.shape)
            (folder / f"{split}-{name}-ubyte").write_bytes(header + values.tobytes())


def shortened(recipe: str, steps: int, **changes: dict[str, Any]) -> JobSpec:
    """A recipe of images, on random ones, with this many steps.

    Args:
        recipe: file below recipes/, without its ending.
        steps: optimiser steps.
        changes: fields to set in parts of the spec, such as `resources={"devices": 2}`.
    """
    document = load(ROOT / "recipes" / f"{recipe}.yaml").model_dump()
    document["dataset"] = {"name": "idx", "path": FOLDER, "augment": "crop_flip"}
    document["training"]["steps"] = steps
    if "cycles" in document["precision"]:
        document["precision"]["cycles"] = 1
    for part, fields in changes.items():
        document[part] |= fields
    return JobSpec.model_validate(document)
