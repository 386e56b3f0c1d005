"""A dataset in memory, and the errors of getting it there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from cpt_core.data.image_files import ImageFiles

SIDE = 32
"""Height and width of the images all models of CIFAR form take."""


class DataError(Exception):
    """The dataset is missing, corrupt or too small. The message names the file and says what to do."""


@dataclass(frozen=True, slots=True)
class Split:
    """Images and their classes."""

    images: Tensor | ImageFiles
    """uint8, shape (N, C, height, width), C being 1 or 3; as a tensor, or in files, decoded when they are indexed."""
    labels: Tensor
    """int64, shape (N,)."""

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device) -> Split:
        """The split in the memory of `device`."""
        return Split(self.images.to(device), self.labels.to(device))


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset: two splits of uint8 images, and how their values become a network's input."""

    source: str
    """What messages call it: a name or a folder."""
    classes: int
    """Number of classes."""
    train: Split
    test: Split
    normalize: Callable[[Tensor], Tensor]
    """uint8 images (B, C, height, width) to float32 of the same shape."""

    def to(self, device: torch.device) -> Dataset:
        """The dataset in the memory of `device`."""
        return Dataset(self.source, self.classes, self.train.to(device), self.test.to(device), self.normalize)

    def inputs(self, images: Tensor) -> Tensor:
        """What a network takes: float32, channels last, shape (B, 3, height, width); a single channel is repeated."""
        return self.normalize(images).expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)


def standardize(images: Tensor) -> Callable[[Tensor], Tensor]:
    """Normalisation to mean 0 and variance 1 in each channel over `images`, the uint8 training split (N, C, H, W).

    The sums are exact integers, so the result is the same on every machine.
    """
    pixels = images[:, 0].numel()
    counts = [torch.bincount(images[:, channel].flatten(), minlength=256) for channel in range(images.shape[1])]
    values = torch.arange(256)
    means = [int((count * values).sum()) / pixels for count in counts]
    squares = [int((count * values * values).sum()) / pixels for count in counts]
    deviations = [max(square - mean * mean, 1.0) ** 0.5 for mean, square in zip(means, squares, strict=True)]
    mean, deviation = torch.tensor(means).view(-1, 1, 1), torch.tensor(deviations).view(-1, 1, 1)

    def normalize(batch: Tensor) -> Tensor:
        return (batch.float() - mean.to(batch.device)) / deviation.to(batch.device)

    return normalize


def below(root: Path, relative: str) -> Path:
    """The path `relative` below `root` with symbolic links followed.

    Raises:
        DataError: it leads outside `root`, which a spec must not, or `root` does not exist.
    """
    if not root.is_dir():
        raise DataError(f"The data root {root} does not exist: create it or set another one.")
    path = (root / relative).resolve()
    if not path.is_relative_to(root.resolve()):
        raise DataError(
            f"{relative} leads outside the data root {root}: put the data, not a link to it, below the root."
        )
    return path
