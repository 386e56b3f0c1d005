"""How large a dataset is, without its files where it is a published one."""

from __future__ import annotations

from pathlib import Path

from cpt_core import data
from cpt_core.sizes import DatasetSize, published_size
from cpt_core.spec import DatasetSpec, TextDatasetSpec


def size(spec: DatasetSpec, data_root: Path) -> DatasetSize:
    """Size of the dataset a spec names, read from its files below `data_root` unless it is a published one.

    Raises:
        DataError: it has to be read, and is missing or corrupt.
    """
    if (known := published_size(spec)) is not None:
        return known
    if isinstance(spec, TextDatasetSpec):
        corpus = data.load_text(spec, data_root)
        return DatasetSize(len(corpus.vocabulary), len(corpus.train))
    dataset = data.load(spec, data_root)
    return DatasetSize(dataset.classes, len(dataset.train))
