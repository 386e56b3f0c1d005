"""The digits that come with scikit-learn: 1,797 images of 8x8 pixels in 17 grey levels (Alpaydin & Kaynak 1998)."""

from __future__ import annotations

import gzip
import importlib.util
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cpt_core.data.dataset import SIDE, DataError, Dataset, Split

TRAINING_IMAGES = 1437


def load() -> Dataset:
    """The digits, each pixel enlarged to 4x4, in a fixed random split of 1,437 and 360 images.

    Raises:
        DataError: scikit-learn is not installed.
    """
    # The file is read without importing scikit-learn, which takes seconds.
    package = importlib.util.find_spec("sklearn")
    if package is None or not package.submodule_search_locations:
        raise DataError("The digits come with scikit-learn, which is not installed: pip install scikit-learn.")
    path = Path(package.submodule_search_locations[0], "datasets", "data", "digits.csv.gz")
    try:
        with gzip.open(path) as file:
            table = np.loadtxt(file, delimiter=",", dtype=np.int64)
    except (OSError, EOFError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}): reinstall scikit-learn.") from error
    small = torch.from_numpy(table[:, :64].astype(np.uint8)).view(-1, 1, 8, 8)
    images = small.repeat_interleave(SIDE // 8, 2).repeat_interleave(SIDE // 8, 3)
    labels = torch.from_numpy(table[:, 64])
    order = torch.from_numpy(np.random.RandomState(0).permutation(len(labels)))  # this stream is frozen by numpy
    train, test = order[:TRAINING_IMAGES], order[TRAINING_IMAGES:]
    return Dataset("digits", 10, Split(images[train], labels[train]), Split(images[test], labels[test]), _normalize)


def _normalize(images: Tensor) -> Tensor:
    """Grey levels 0 to 16, squared, to [-0.5, 1.5]; exact in float32."""
    return ((images.float() / 16).square() - 0.25) / 0.5
