"""Datasets, held in memory, and the batches made of them."""

from __future__ import annotations

from pathlib import Path

from cpt_core.data import cifar, digits, idx
from cpt_core.data.batches import TrainingBatches, evaluation_batches
from cpt_core.data.dataset import DataError, Dataset, Split
from cpt_core.spec import DatasetSpec, DigitsDataset, IdxDataset

__all__ = ["DataError", "Dataset", "Split", "TrainingBatches", "evaluation_batches", "load"]


def load(spec: DatasetSpec, data_root: Path) -> Dataset:
    """The dataset a spec names, whose files lie below `data_root`.

    Raises:
        DataError: it is missing or corrupt.
    """
    match spec:
        case DigitsDataset():
            return digits.load()
        case IdxDataset(path=folder):
            return idx.load(data_root, folder)
        case _:
            return cifar.load(spec.name, data_root, spec.path, download=spec.download)
