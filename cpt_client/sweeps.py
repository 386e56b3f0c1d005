"""Sweeps and comparisons, as the client sees them."""

from __future__ import annotations

from typing import Any

from pydantic import AwareDatetime

from cpt_client.models import Cost, Progress, Resource
from cpt_core.seeds import Summary

FINAL = frozenset({"succeeded", "failed", "cancelled"})
"""States of a sweep whose members have all ended."""


class SweepProgress(Resource):
    """How far the members of a sweep are together."""

    steps_done: int
    """Steps completed by all members."""
    steps: int
    """Steps of all members."""
    fraction: float
    """Completed part, 0 to 1."""


class Sweep(Resource):
    """Many jobs out of one base spec."""

    id: str
    """`sweep_…`."""
    name: str
    """Label for people."""
    state: str
    """queued, running, paused, succeeded, failed or cancelled: derived from the members."""
    counts: dict[str, int]
    """Members by state."""
    progress: SweepProgress
    """How far the members are."""
    created_at: AwareDatetime
    """When it was submitted."""
    started_at: AwareDatetime | None = None
    """When the first member started."""
    finished_at: AwareDatetime | None = None
    """When the last member ended."""
    spec: dict[str, Any]
    """The base."""
    grid: dict[str, list[Any]]
    """JSON pointer to the values that the field takes."""
    overrides: list[dict[str, Any]]
    """JSON merge patches of the base."""
    members: list[str]
    """Ids of the jobs."""

    @property
    def is_final(self) -> bool:
        """Whether all members have ended."""
        return self.state in FINAL


class Quality(Resource):
    """How good a model is on the test split."""

    name: str
    """`accuracy` (0 to 1, better higher), `perplexity` or `loss`."""
    value: float
    """Its value."""
    bits: int
    """Bit width at which it was taken."""
    averaged: bool = False
    """Whether it is of averaged weights."""
    final: bool
    """True: the job's result; False: its latest evaluation so far."""


class EnergyFigures(Resource):
    """Energy in joules; measured and modelled are never mixed."""

    modelled_joules: float
    """By the per-operation model."""
    energy_joules: float | None = None
    """Measured; null where no counter is available."""


class Outcome(Resource):
    """What came of a job, or what is known so far."""

    job: str
    """The job's id."""
    name: str
    """Label from its spec."""
    state: str
    """The job's state."""
    progress: Progress
    """How far it is."""
    fields: dict[str, Any]
    """Where its spec differs from the others': JSON pointer to value."""
    quality: Quality | None = None
    """Final quality, or the latest evaluation."""
    cost: Cost | None = None
    """Cost, so far."""
    energy: EnergyFigures | None = None
    """Energy, so far."""
    seconds: float | None = None
    """Time that workers held it, so far."""


class Comparison(Resource):
    """Jobs side by side."""

    fields: list[str]
    """JSON pointers at which the specs differ."""
    data: list[Outcome]
    """The jobs."""

    def _repr_html_(self) -> str:
        """For notebooks."""
        from cpt_client.view.html import comparison

        return comparison(self)


class Configuration(Resource):
    """Members of a sweep that differ in their seed alone."""

    fields: dict[str, Any]
    """JSON pointer to value, without the seed."""
    jobs: list[str]
    """The members."""
    summary: Summary | None = None
    """Mean and sample standard deviation over those that succeeded."""


class SweepResults(Comparison):
    """What came of the members of a sweep, the best first."""

    sweep: str
    """The sweep's id."""
    state: str
    """Its state."""
    configurations: list[Configuration]
    """Members that differ in their seed alone, together; the best mean first."""
