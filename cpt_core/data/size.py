"""How large a dataset is, without its files where it is a published one."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from cpt_core import data
from cpt_core.spec import DatasetSpec


class Size(NamedTuple):
    """What of a dataset decides a model's size and an epoch's length."""

    classes: int
    """Number of classes."""
    training_samples: int
    """Samples of the training split."""


PUBLISHED = {"digits": Size(10, 1437), "cifar10": Size(10, 50_000), "cifar100": Size(100, 50_000)}
"""Datasets whose files are always the same ones."""


def size(spec: DatasetSpec, data_root: Path) -> Size:
    """Size of the dataset a spec names, read from its files below `data_root` unless it is a published one.

    Raises:
        DataError: it has to be read, and is missing or corrupt.
    """
    if spec.name in PUBLISHED:
        return PUBLISHED[spec.name]
    dataset = data.load(spec, data_root)
    return Size(dataset.classes, len(dataset.train))
