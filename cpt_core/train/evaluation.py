"""Quality on the test split."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

from cpt_core.data import Dataset, evaluation_batches
from cpt_core.events import Best, Evaluation
from cpt_core.quant import PrecisionState
from cpt_core.train.buffers import buffers_of_rank_0
from cpt_core.train.errors import DivergedError
from cpt_core.train.ranks import Ranks


@torch.no_grad()
def evaluate(
    model: nn.Module,
    precision: PrecisionState,
    dataset: Dataset,
    ranks: Ranks,
    *,
    step: int,
    bits: int,
    batch_size: int,
) -> Evaluation:
    """Evaluate on every test sample once, shared among the ranks, at `bits` bits.

    Every rank uses rank 0's batch norm statistics and running ranges, so the figures are those of the weights that a
    checkpoint exports, whatever the number of ranks. Nothing that training depends on is changed but the bit widths,
    which each step sets anew.

    Raises:
        DivergedError: the loss is not finite.
    """
    loss = torch.zeros((), dtype=torch.float64, device=ranks.device)
    correct, among_5 = torch.zeros((2,), dtype=torch.int64, device=ranks.device)
    count = 0
    precision.set(bits, 32)
    model.eval()
    with buffers_of_rank_0(model, ranks):
        for inputs, labels in evaluation_batches(
            dataset, batch_size=batch_size, rank=ranks.rank, world_size=ranks.world_size
        ):
            logits = model(inputs)
            loss += F.cross_entropy(logits.double(), labels, reduction="sum")
            correct += (logits.argmax(1) == labels).sum()
            among_5 += (logits.topk(min(5, dataset.classes)).indices == labels.unsqueeze(1)).sum()
            count += len(labels)
    model.train()
    loss_sum, correct_sum, among_5_sum, samples = ranks.sum([loss, correct, among_5, count])
    if not math.isfinite(loss_sum):
        raise DivergedError(
            f"The loss on the test split after {step} steps, at {bits} bits, is not finite: "
            "lower optimizer.lr, or evaluate at more bits."
        )
    return Evaluation(
        step=step,
        bits=bits,
        samples=int(samples),
        loss=loss_sum / samples,
        accuracy=correct_sum / samples,
        top5_accuracy=among_5_sum / samples if dataset.classes > 5 else None,
    )


def better(evaluation: Evaluation, best: Best | None) -> Best:
    """The better one: of higher accuracy, or of lower loss where there is none; `best`, the earlier, of equals."""
    if best is not None and _goodness(evaluation) <= _goodness(best):
        return best
    return Best(**evaluation.model_dump(include=set(Best.model_fields)))


def _goodness(quality: Evaluation | Best) -> float:
    return -quality.loss if quality.accuracy is None else quality.accuracy
