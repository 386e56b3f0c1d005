"""Sweeps and comparisons, as the client sees them."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from pydantic import AwareDatetime

from cpt_client.models import Cost, Progress, Resource, parse
from cpt_core.seeds import Summary
from cpt_core.spec import JobSpec

if TYPE_CHECKING:
    from cpt_client.client import Client

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


class Sweeps:
    """The sweeps of a server: `client.sweeps`. Every method raises `CptError` when its request comes to nothing."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def create(
        self,
        spec: JobSpec | Mapping[str, Any],
        *,
        grid: Mapping[str, Sequence[Any]] | None = None,
        overrides: Sequence[Mapping[str, Any]] = (),
        name: str | None = None,
        idempotency_key: str | None = None,
    ) -> Sweep:
        """Submit a job for every one of the overrides with every point of the grid: all of them, or none.

        Args:
            spec: the base.
            grid: JSON pointer of a field to its values, such as `{"/training/seed": [0, 1, 2]}`.
            overrides: JSON merge patches of the base, for what is no grid.
            name: a label.
            idempotency_key: chosen at random by default, so that the client's own repeats are safe.
        """
        base = spec.model_dump(mode="json", exclude_unset=True) if isinstance(spec, JobSpec) else dict(spec)
        body: dict[str, Any] = {"spec": base, "grid": dict(grid or {}), "overrides": [*overrides]}
        if name is not None:
            body["name"] = name
        headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
        return parse(Sweep, self._client.request("POST", "/v1/sweeps", json=body, headers=headers).content)

    def get(self, sweep_id: str) -> Sweep:
        """The sweep as it is now."""
        return parse(Sweep, self._client.request("GET", _path(sweep_id)).content)

    def list(self, *, limit: int | None = None, page_size: int = 100) -> Iterator[Sweep]:
        """Sweeps, newest first, fetched page by page as they are read."""
        return itertools.islice(self._client.pages(Sweep, "/v1/sweeps", {"limit": page_size}), limit)

    def cancel(self, sweep_id: str) -> Sweep:
        """Ask to cancel all members that have not ended."""
        return parse(Sweep, self._client.request("POST", _path(sweep_id, "/cancel")).content)

    def results(self, sweep_id: str) -> SweepResults:
        """What came of the members, the best first."""
        return parse(SweepResults, self._client.request("GET", _path(sweep_id, "/results")).content)

    def results_csv(self, sweep_id: str) -> str:
        """The same as a table with a header, a line for each member."""
        return self._client.request("GET", _path(sweep_id, "/results"), headers={"Accept": "text/csv"}).text


def _path(sweep_id: str, action: str = "") -> str:
    return f"/v1/sweeps/{quote(sweep_id, safe='')}{action}"
