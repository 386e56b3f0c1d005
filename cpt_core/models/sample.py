"""What a model is given."""

from __future__ import annotations

from typing import NamedTuple

import torch

from cpt_core.spec import FolderDataset, JobSpec, TextDatasetSpec


class Sample(NamedTuple):
    """Shape and type of an input, without the batch dimension."""

    shape: tuple[int, ...]
    """(3, height, width) of an image, (words,) of a text."""
    dtype: torch.dtype
    """int64 of a text."""

    @property
    def is_text(self) -> bool:
        """Whether it is words, not an image."""
        return self.dtype == torch.long


def sample_of(spec: JobSpec) -> Sample:
    """A sample, by which cost is counted: an image, or one word of a text."""
    if isinstance(spec.dataset, TextDatasetSpec):
        return Sample((1,), torch.long)
    side = spec.dataset.size if isinstance(spec.dataset, FolderDataset) else 32
    return Sample((3, side, side), torch.float32)


def stretch_of(spec: JobSpec) -> Sample:
    """What the model is given at once in training: an image, or `dataset.bptt` words of a text."""
    if isinstance(spec.dataset, TextDatasetSpec):
        return Sample((spec.dataset.bptt,), torch.long)
    return sample_of(spec)
