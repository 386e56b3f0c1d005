"""The same training over several seeds: what became of each, mean and standard deviation. No torch."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Self

from pydantic import BaseModel, ConfigDict

from cpt_core.events import Finished, Result


class SeedsModel(BaseModel):
    """Base of the parts of a report."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Spread(SeedsModel):
    """A figure over several runs."""

    mean: float
    """Arithmetic mean."""
    deviation: float | None
    """Sample standard deviation (divisor n - 1); null for a single run."""


class Summary(SeedsModel):
    """The figures of runs that trained to their last step. One that some run does not have is null."""

    runs: int
    """How many they are."""
    bits: list[int]
    """Bit widths at which quality was taken, ascending: one, unless range tests found different bounds."""
    accuracy: Spread | None
    """Top-1 accuracy, last weights."""
    top5_accuracy: Spread | None
    """Top-5 accuracy, last weights."""
    perplexity: Spread | None
    """exp(loss) of each run."""
    loss: Spread | None
    """Mean loss on the test split."""
    gbitops: Spread | None
    """GBitOPs."""
    modelled_joules: Spread | None
    """Energy by the per-operation model."""
    energy_joules: Spread | None
    """Measured energy."""


def summarize(results: Sequence[Result]) -> Summary:
    """The summary of runs of one spec that differ in their seed alone.

    Raises:
        ValueError: there are none.
    """
    if not results:
        raise ValueError("there are no results to summarise")

    def spread(name: str) -> Spread | None:
        values = [getattr(result, name) for result in results]
        if None in values:
            return None
        deviation = statistics.stdev(values) if len(values) > 1 else None
        return Spread(mean=statistics.fmean(values), deviation=deviation)

    figures = {name: spread(name) for name, field in Summary.model_fields.items() if field.annotation == Spread | None}
    bits = {result.bits for result in results if result.bits is not None}
    return Summary(runs=len(results), bits=sorted(bits), **figures)


class SeedRun(SeedsModel):
    """What became of one seed."""

    seed: int
    """`training.seed`."""
    checkpoint: str | None
    """Folder of its last checkpoint, relative to the storage root; null if there is none."""
    end: Finished
    """How the run ended."""


class Report(SeedsModel):
    """What became of all."""

    name: str
    """The spec's name."""
    runs: list[SeedRun]
    """The runs that have ended, in their order."""
    not_started: list[int]
    """Seeds that were not begun, because a run failed or was interrupted."""
    summary: Summary | None
    """Mean and standard deviation over the runs that succeeded; null if none did."""

    @classmethod
    def of(cls, name: str, runs: list[SeedRun], not_started: list[int]) -> Self:
        """The report of these runs."""
        results = [run.end.result for run in runs if run.end.result is not None]
        return cls(name=name, runs=runs, not_started=not_started, summary=summarize(results) if results else None)
