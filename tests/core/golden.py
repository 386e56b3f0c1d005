"""The golden vectors of the reference code, as tensors."""

from functools import cache
from pathlib import Path

import numpy as np
import torch

FOLDER = Path(__file__).parents[1] / "golden"


@cache
def load(name: str) -> dict[str, np.ndarray]:
    with np.load(FOLDER / f"{name}.npz") as archive:
        return dict(archive)


def tensor(name: str, key: str) -> torch.Tensor:
    return torch.from_numpy(load(name)[key].copy())
