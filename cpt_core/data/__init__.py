"""Datasets, held in memory, and the batches made of them."""

from __future__ import annotations

from pathlib import Path

from cpt_core.data import cifar, digits, idx, image_files
from cpt_core.data.batches import TrainingBatches, evaluation_batches
from cpt_core.data.dataset import DataError, Dataset, Split
from cpt_core.data.streams import Streams
from cpt_core.data.text import Corpus
from cpt_core.data.text import load as load_text
from cpt_core.spec import DigitsDataset, FolderDataset, IdxDataset, ImageDatasetSpec

__all__ = [
    "Corpus",
    "DataError",
    "Dataset",
    "Split",
    "Streams",
    "TrainingBatches",
    "evaluation_batches",
    "load",
    "load_text",
]


def load(spec: ImageDatasetSpec, data_root: Path) -> Dataset:
    """The images a spec names, whose files lie below `data_root`.

    Raises:
        DataError: it is missing or corrupt.
    """
    match spec:
        case DigitsDataset():
            return digits.load()
        case IdxDataset(location=folder):
            return idx.load(data_root, folder)
        case FolderDataset(location=folder, size=side):
            return image_files.load(data_root, folder, side)
        case _:
            return cifar.load(spec.name, data_root, spec.location, download=spec.download)
