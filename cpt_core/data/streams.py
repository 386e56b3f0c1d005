"""Batches of text for truncated backpropagation through time ("bptt"): parallel streams, cut into stretches.

A text of N words is laid out as `batch_size` streams of (N - 1) // batch_size positions, one after the other; at each
position the next word is to be predicted. A batch is the same stretch of all streams, and the next batch continues
each of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from torch import Tensor

from cpt_core.data.dataset import DataError


class Streams:
    """The streams of one rank, which are consecutive ones."""

    def __init__(
        self,
        words: Tensor,
        *,
        batch_size: int,
        bptt: int,
        split: Literal["training", "evaluation"] = "training",
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        """Lay out `words`, 1-d, as `batch_size` streams over all ranks, which it must be a multiple of.

        Raises:
            DataError: there are too few words for one whole stretch, or in evaluation for one word a stream.
        """
        length = (len(words) - 1) // batch_size
        least = bptt if split == "training" else 1
        if length < least:
            raise DataError(
                f"{batch_size} streams of {least} words need {batch_size * least + 1} words, but in the text for "
                f"{split} there are {len(words)}: lower {split}.batch_size{' or dataset.bptt' * (least > 1)}."
            )
        self._bptt, self._length = bptt, length
        share = batch_size // world_size
        mine = slice(rank * share, (rank + 1) * share)
        self._inputs = words[: batch_size * length].view(batch_size, length)[mine]
        self._targets = words[1 : batch_size * length + 1].view(batch_size, length)[mine]

    def position(self, step: int) -> tuple[int, int]:
        """(epoch, stretch within the epoch) of a step. An epoch leaves out its incomplete last stretch."""
        return divmod(step, self._length // self._bptt)

    def __call__(self, step: int) -> tuple[Tensor, Tensor]:
        """Words and the words that follow them, int64, each (streams, bptt), of this rank at `step`."""
        return self._stretch(self.position(step)[1])

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """All stretches in order, the incomplete last one too."""
        return map(self._stretch, range(-(-self._length // self._bptt)))

    def _stretch(self, index: int) -> tuple[Tensor, Tensor]:
        part = slice(index * self._bptt, (index + 1) * self._bptt)
        return self._inputs[:, part].long(), self._targets[:, part].long()
