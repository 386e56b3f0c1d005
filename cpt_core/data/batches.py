"""Which samples a step trains on: a function of (seed, step), the same for any number of ranks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

from cpt_core.data.augment import crop_flip
from cpt_core.data.dataset import DataError, Dataset
from cpt_core.data.image_files import ImageFiles
from cpt_core.seeding import derive


class TrainingBatches:
    """The batches of one rank. An epoch is a permutation of the training split without its incomplete last batch."""

    def __init__(
        self,
        dataset: Dataset,
        *,
        batch_size: int,
        seed: int,
        augment: Literal["none", "crop_flip"] = "none",
        rank: int = 0,
        world_size: int = 1,
    ):
        """Batches of `batch_size` samples over all ranks, which it must be a multiple of.

        Raises:
            DataError: the training split is smaller than a batch.
        """
        self._dataset, self._seed, self._augment = dataset, seed, augment
        self._batch_size, self._share, self._rank = batch_size, batch_size // world_size, rank
        self._per_epoch = len(dataset.train) // batch_size
        self._order = (-1, torch.empty(0, dtype=torch.int64))
        if self._per_epoch == 0:
            raise DataError(
                f"A batch of {batch_size} samples is larger than the training split of {dataset.source}, "
                f"which has {len(dataset.train)}: lower training.batch_size."
            )

    def position(self, step: int) -> tuple[int, int]:
        """(epoch, batch within the epoch) of a step."""
        return divmod(step, self._per_epoch)

    def indices(self, step: int) -> Tensor:
        """Indices of this rank's samples in the training split, int64 on the CPU, shape (batch_size / ranks,)."""
        epoch, batch = self.position(step)
        if self._order[0] != epoch:
            generator = torch.Generator().manual_seed(derive(self._seed, "permutation", epoch))
            self._order = (epoch, torch.randperm(len(self._dataset.train), generator=generator))
        begin = batch * self._batch_size + self._rank * self._share
        return self._order[1][begin : begin + self._share]

    def __call__(self, step: int) -> tuple[Tensor, Tensor]:
        """Inputs, float32 (B, 3, height, width), and labels, int64 (B,), of this rank at `step`."""
        indices = self.indices(step)
        split = self._dataset.train
        here = indices.to(split.labels.device)
        epoch = self.position(step)[0]
        if self._augment == "none":
            images = split.images[here]
        elif isinstance(split.images, ImageFiles):
            images = split.images.augmented(indices, seed=self._seed, epoch=epoch)
        else:
            images = crop_flip(split.images[here], indices, seed=self._seed, epoch=epoch)
        return self._dataset.inputs(images), split.labels[here]


def evaluation_batches(
    dataset: Dataset, *, batch_size: int, rank: int = 0, world_size: int = 1
) -> Iterator[tuple[Tensor, Tensor]]:
    """Inputs and labels of one rank's part of the test split; over all ranks, every sample comes exactly once.

    `batch_size` counts the samples of all ranks. The last batch may be smaller, and then some ranks have none of it.
    """
    share = batch_size // world_size
    for begin in range(rank * share, len(dataset.test), batch_size):
        part = slice(begin, begin + share)
        yield dataset.inputs(dataset.test.images[part]), dataset.test.labels[part]
