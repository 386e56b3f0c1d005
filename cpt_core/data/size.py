"""How large a dataset is, without its files where it is a published one."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from cpt_core import data
from cpt_core.spec import DatasetSpec, JobSpec, TextDatasetSpec


class Size(NamedTuple):
    """What of a dataset decides a model's size and an epoch's length."""

    classes: int
    """Number of classes, or of words of the vocabulary."""
    training_samples: int
    """Images, or words, of the training split."""


PUBLISHED = {
    "digits": Size(10, 1437),
    "cifar10": Size(10, 50_000),
    "cifar100": Size(100, 50_000),
    "imagenet": Size(1000, 1_281_167),
    "ptb": Size(10_000, 929_589),
    "wikitext103": Size(267_735, 103_227_021),
}
"""Datasets whose files are always the same ones; texts with their whole vocabulary and the ends of lines."""


def steps_per_epoch(spec: JobSpec, training_samples: int) -> int:
    """Optimiser steps of a pass over the training split, whose incomplete end is left out; 0 if it is too small."""
    batch_size = spec.training.batch_size
    if isinstance(spec.dataset, TextDatasetSpec):
        return (training_samples - 1) // batch_size // spec.dataset.bptt
    return training_samples // batch_size


def size(spec: DatasetSpec, data_root: Path) -> Size:
    """Size of the dataset a spec names, read from its files below `data_root` unless it is a published one.

    Raises:
        DataError: it has to be read, and is missing or corrupt.
    """
    if spec.name in PUBLISHED and not (isinstance(spec, TextDatasetSpec) and spec.max_vocabulary):
        return PUBLISHED[spec.name]
    if isinstance(spec, TextDatasetSpec):
        corpus = data.load_text(spec, data_root)
        return Size(len(corpus.vocabulary), len(corpus.train))
    dataset = data.load(spec, data_root)
    return Size(dataset.classes, len(dataset.train))
