"""How large the published datasets are, and what an epoch is."""

from __future__ import annotations

from typing import NamedTuple

from cpt_core.spec import DatasetSpec, JobSpec, TextDatasetSpec


class DatasetSize(NamedTuple):
    """What of a dataset decides a model's size and an epoch's length."""

    classes: int
    """Number of classes, or of words of the vocabulary."""
    training_samples: int
    """Images, or words, of the training split."""


PUBLISHED = {
    "digits": DatasetSize(10, 1437),
    "cifar10": DatasetSize(10, 50_000),
    "cifar100": DatasetSize(100, 50_000),
    "imagenet": DatasetSize(1000, 1_281_167),
    "ptb": DatasetSize(10_000, 929_589),
    "wikitext103": DatasetSize(267_735, 103_227_021),
}
"""Datasets whose files are always the same ones; texts with their whole vocabulary and the ends of lines."""


def published_size(spec: DatasetSpec) -> DatasetSize | None:
    """Size of the dataset a spec names; null if only its files tell."""
    if isinstance(spec, TextDatasetSpec) and spec.max_vocabulary:
        return None
    return PUBLISHED.get(spec.name)


def steps_per_epoch(spec: JobSpec, training_samples: int) -> int:
    """Optimiser steps of a pass over the training split, whose incomplete end is left out; 0 if it is too small."""
    batch_size = spec.training.batch_size
    if isinstance(spec.dataset, TextDatasetSpec):
        return (training_samples - 1) // batch_size // spec.dataset.bptt
    return training_samples // batch_size
