"""What came of a job, as it stands beside others."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, JsonValue

from api.jobs.schemas import Cost, Progress, Resource
from cpt_core.lifecycle import State


class Quality(Resource):
    """How good the model is on the test split."""

    name: Literal["accuracy", "perplexity", "loss"]
    """What is measured: accuracy is better higher, the others lower."""
    value: float
    """Accuracy from 0 to 1, or perplexity, or loss."""
    bits: int
    """Bit width at which it was taken."""
    averaged: bool
    """Whether it is of averaged weights, not of the last ones."""
    final: bool
    """True: the job's result. False: its latest evaluation so far."""


class EnergyFigures(Resource):
    """Energy in joules, so far; measured and modelled are never mixed."""

    modelled_joules: float
    """By the per-operation model."""
    energy_joules: float | None
    """Measured, of the last attempt; null where no counter is available."""


class Outcome(Resource):
    """What came of a job, or what is known so far."""

    job: str
    """The job's id."""
    name: str
    """Label from its spec."""
    state: State
    """Where it is in its life."""
    progress: Progress
    """How far it is."""
    fields: dict[str, JsonValue]
    """Where its spec differs from the others': JSON pointer to value. A field that its spec lacks is left out."""
    quality: Quality | None
    """Final quality, or the latest evaluation; null before the first."""
    cost: Cost | None
    """Cost, so far; null before the first step."""
    energy: EnergyFigures | None
    """Energy, so far; null before the first step."""
    seconds: float | None
    """Time that workers held it, over all attempts, so far; null before the first."""


class Comparison(Resource):
    """Jobs side by side."""

    object: Literal["comparison"] = "comparison"
    """Kind of this resource."""
    fields: list[str] = Field(examples=[["/precision/min_bits", "/training/seed"]])
    """JSON pointers at which the specs differ; everywhere else they are the same. Names are not compared."""
    data: list[Outcome]
    """The jobs, in the order asked for."""
