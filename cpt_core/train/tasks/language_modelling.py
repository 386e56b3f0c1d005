"""Predicting the next word of a text."""

from __future__ import annotations

import math
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cpt_core import data
from cpt_core.spec import JobSpec, TextDatasetSpec
from cpt_core.train.ranks import Ranks
from cpt_core.train.tasks.task import Outcome, Task

State = tuple[Tensor, ...]


class LanguageModelling(Task):
    """Cross-entropy over the vocabulary at each word; perplexity. A model that returns a state is given it back."""

    reports_accuracy = False

    def __init__(self, spec: JobSpec, corpus: data.Corpus, text: TextDatasetSpec, ranks: Ranks) -> None:
        """Stretches of `corpus`, which is what `text`, the spec's dataset, names.

        Raises:
            DataError: the text is too short.
        """
        self.outputs = len(corpus.vocabulary)
        self._parts, self._device = spec.training.accumulation, ranks.device
        lay_out = partial(data.Streams, bptt=text.bptt, rank=ranks.rank, world_size=ranks.world_size)
        self._streams = lay_out(corpus.train, batch_size=spec.training.batch_size)
        self._test_streams = lay_out(corpus.test, batch_size=spec.evaluation_batch_size, split="evaluation")
        self._states: dict[int, State] = {}
        """By part of the batch, that is, by its streams."""

    def epoch(self, step: int) -> int:
        """The epoch of a step."""
        return self._streams.position(step)[0]

    def forward(self, model: nn.Module, step: int, part: int) -> Outcome:
        """Loss on a stretch of some streams, from the state that the stretch before it ended with."""
        if self._streams.position(step)[1] == 0:
            self._states.pop(part, None)  # the text begins anew
        words, targets = (tensor.chunk(self._parts)[part] for tensor in self._streams(step))
        logits, state = _predict(model, words, self._states.get(part))
        if state is not None:
            self._states[part] = tuple(tensor.detach().contiguous() for tensor in state)
        correct = (logits.detach().argmax(-1) == targets).sum()
        return Outcome(F.cross_entropy(logits.flatten(0, 1), targets.flatten()), correct, targets.numel())

    def test(self, model: nn.Module) -> dict[str, Tensor | float]:
        """Sums of the losses; each stream begins without a state."""
        loss = torch.zeros((), dtype=torch.float64, device=self._device)
        samples, state = 0, None
        for words, targets in self._test_streams:
            logits, state = _predict(model, words, state)
            loss += F.cross_entropy(logits.flatten(0, 1).double(), targets.flatten(), reduction="sum")
            samples += targets.numel()
        return {"loss": loss, "samples": samples}

    def metrics(self, means: dict[str, float]) -> dict[str, float | None]:
        """Loss and perplexity."""
        loss = means["loss"]
        return {"loss": loss, "perplexity": math.exp(loss) if loss < _LARGEST_EXPONENT else None}

    def carried(self) -> dict[str, Tensor]:
        """The states of this rank's streams."""
        return {f"{part}/{i}": tensor for part, state in self._states.items() for i, tensor in enumerate(state)}

    def carry_on(self, carried: dict[str, Tensor]) -> None:
        """Go on from those states."""
        parts = sorted({int(name.split("/")[0]) for name in carried})
        self._states = {
            part: tuple(carried[f"{part}/{i}"].to(self._device) for i in range(_tensors_of(part, carried)))
            for part in parts
        }


_LARGEST_EXPONENT = 700.0  # of what a float can hold


def _tensors_of(part: int, carried: dict[str, Tensor]) -> int:
    return sum(name.startswith(f"{part}/") for name in carried)


def _predict(model: nn.Module, words: Tensor, state: State | None) -> tuple[Tensor, State | None]:
    """Logits, and the state if the model has one."""
    output = model(words) if state is None else model(words, state)
    return output if isinstance(output, tuple) else (output, None)
