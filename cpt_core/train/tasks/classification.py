"""Telling images apart."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cpt_core import data
from cpt_core.data.ahead import Ahead
from cpt_core.spec import FolderDataset, ImageDatasetSpec, JobSpec
from cpt_core.train.ranks import Ranks
from cpt_core.train.tasks.task import Outcome, Task

IMAGES_AT_ONCE = 64
"""What a CPU evaluates in one pass. More take longer each: what the layers say of them does not stay in its caches, and
takes memory whose pages the system has to make first. A GPU takes a whole batch."""


class Classification(Task):
    """Cross-entropy over the classes; top-1 and top-5 accuracy."""

    reports_accuracy = True

    def __init__(self, spec: JobSpec, dataset: data.Dataset, images: ImageDatasetSpec, ranks: Ranks) -> None:
        """Batches of `dataset`, which is what `images`, the spec's dataset, names.

        Raises:
            DataError: the training split is smaller than a batch.
        """
        self.outputs = dataset.classes
        self._dataset, self._ranks = dataset, ranks
        self._parts, self._test_batch_size = spec.training.accumulation, spec.evaluation_batch_size
        self._batches = data.TrainingBatches(
            dataset,
            batch_size=spec.training.batch_size,
            seed=spec.training.seed,
            augment=images.augment,
            rank=ranks.rank,
            world_size=ranks.world_size,
        )
        # A batch of images in memory takes 2 % of ResNet-8's step on a CPU, next to nothing of a larger model's, and a
        # thread for it would take its time from the same cores. Others are decoded while the model trains.
        self._batches_at = Ahead(self._batches) if isinstance(images, FolderDataset) else self._batches
        self._batch = (-1, (torch.empty(0), torch.empty(0)))

    def epoch(self, step: int) -> int:
        """The epoch of a step."""
        return self._batches.position(step)[0]

    def forward(self, model: nn.Module, step: int, part: int) -> Outcome:
        """Loss on a part of a batch of images."""
        if self._batch[0] != step:
            self._batch = (step, self._batches_at(step))
        inputs, labels = (tensor.chunk(self._parts)[part] for tensor in self._batch[1])
        logits = model(inputs)
        correct = (logits.detach().argmax(1) == labels).sum()
        return Outcome(F.cross_entropy(logits, labels), correct, len(labels))

    def test(self, model: nn.Module) -> dict[str, Tensor | float]:
        """Sums of the losses and of the samples that are right, and right among the five likeliest."""
        device = self._ranks.device
        loss = torch.zeros((), dtype=torch.float64, device=device)
        correct, among_5 = torch.zeros((2,), dtype=torch.int64, device=device)
        samples = 0
        for inputs, labels in data.evaluation_batches(
            self._dataset,
            batch_size=self._test_batch_size,
            rank=self._ranks.rank,
            world_size=self._ranks.world_size,
        ):
            parts = torch.split(inputs, IMAGES_AT_ONCE if device.type == "cpu" else len(inputs) or 1)
            logits = torch.cat([model(part) for part in parts])
            loss += F.cross_entropy(logits.double(), labels, reduction="sum")
            correct += (logits.argmax(1) == labels).sum()
            among_5 += (logits.topk(min(5, self.outputs)).indices == labels.unsqueeze(1)).sum()
            samples += len(labels)
        return {"loss": loss, "samples": samples, "accuracy": correct, "top5_accuracy": among_5}

    def metrics(self, means: dict[str, float]) -> dict[str, float | None]:
        """Loss, accuracy, and top-5 accuracy where it says something."""
        return {**means, "top5_accuracy": means["top5_accuracy"] if self.outputs > 5 else None}
