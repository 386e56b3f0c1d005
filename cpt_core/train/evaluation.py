"""Quality on the test split."""

from __future__ import annotations

import math

import torch
from torch import nn

from cpt_core.events import Best, Evaluation
from cpt_core.quant import PrecisionState
from cpt_core.train.buffers import buffers_of_rank_0
from cpt_core.train.errors import DivergedError
from cpt_core.train.ranks import Ranks
from cpt_core.train.tasks import Task


@torch.no_grad()
def evaluate(
    task: Task,
    model: nn.Module,
    precision: PrecisionState,
    ranks: Ranks,
    *,
    step: int,
    bits: int,
    averaged: bool = False,
) -> Evaluation:
    """Evaluate on every test sample once, shared among the ranks, at `bits` bits.

    Every rank uses rank 0's batch norm statistics and running ranges, so the figures are those of the weights that a
    checkpoint exports, whatever the number of ranks. Nothing that training depends on is changed but the bit widths,
    which each step sets anew. `averaged` tells whether the model has averaged weights now.

    Raises:
        DivergedError: the loss is not finite.
    """
    precision.set(bits, 32)
    model.eval()
    with buffers_of_rank_0(model, ranks):
        sums = task.test(model)
    model.train()
    totals = dict(zip(sums, ranks.sum(list(sums.values())), strict=True))
    samples = totals.pop("samples")
    if not math.isfinite(totals["loss"]):
        raise DivergedError(
            f"The loss on the test split after {step} steps, at {bits} bits, is not finite: "
            "lower optimizer.lr, or evaluate at more bits."
        )
    metrics = task.metrics({name: total / samples for name, total in totals.items()})
    taken = {"step": step, "bits": bits, "samples": int(samples), "averaged": averaged}
    return Evaluation.model_validate(taken | metrics)


def better(evaluation: Evaluation, best: Best | None) -> Best:
    """The better one: of higher accuracy, or of lower loss where there is none; `best`, the earlier, of equals."""
    if best is not None and _goodness(evaluation) <= _goodness(best):
        return best
    return Best(**evaluation.model_dump(include=set(Best.model_fields)))


def _goodness(quality: Evaluation | Best) -> float:
    return -quality.loss if quality.accuracy is None else quality.accuracy
