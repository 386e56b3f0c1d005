"""What clients see of sweeps."""

from __future__ import annotations

import json
from collections import Counter
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue, StringConstraints, model_validator

from api.compare.schemas import Outcome
from api.jobs.schemas import Resource
from cpt_core.lifecycle import State
from cpt_core.seeds import Summary
from cpt_core.spec import job
from cpt_core.spec.base import field_error

Pointer = Annotated[str, StringConstraints(pattern=r"^(/([^~/\x00-\x1f]|~[01])+)+$", max_length=200)]

EXAMPLE: dict[str, Any] = {
    "name": "bounds and seeds",
    "spec": job.EXAMPLE,
    "grid": {"/precision/min_bits": [3, 4], "/training/seed": [0, 1, 2]},
    "overrides": [{"precision": {"quantizer": "dorefa"}}, {"model": {"name": "resnet20"}}],
}
"""Every one of the overrides with every point of the grid: twelve jobs."""


class SweepRequest(BaseModel):
    """Many jobs out of one base spec: every one of the overrides with every point of the grid."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, json_schema_extra={"examples": [EXAMPLE]})

    name: Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]*$")] = "untitled"
    """A label for people; need not be unique."""
    spec: dict[str, JsonValue]
    """The base: a job spec. What every member sets may be missing from it."""
    grid: Annotated[
        dict[Pointer, Annotated[list[JsonValue], Field(min_length=1)]],
        Field(max_length=16),
    ] = {}
    """JSON pointer of a field to the values that it takes: all combinations are run, the last field varying fastest. A
    value replaces whatever the field holds, so whole parts of a spec, such as `/precision`, can be varied as well."""
    overrides: list[dict[str, JsonValue]] = []
    """A list of JSON merge patches (RFC 7396) of the base, for what is no grid; null takes a field out."""

    @model_validator(mode="after")
    def _varies(self) -> Self:
        if not self.grid and not self.overrides:
            raise field_error("/grid", "give a grid or overrides, or there is nothing to vary")
        pointers = sorted(self.grid)
        for pointer in pointers:
            inside = next((other for other in pointers if other.startswith(pointer + "/")), None)
            if inside is not None:
                raise field_error("/grid", f"{inside} lies inside {pointer}: vary one of them")
        for pointer, values in self.grid.items():
            times = Counter(json.dumps(value, sort_keys=True) for value in values)
            written, most = times.most_common(1)[0]
            if most > 1:
                raise field_error("/grid", f"{pointer} has the value {written[:100]} twice: give each once")
        return self


class SweepState(StrEnum):
    """State of a sweep, derived from its members'. The last three are final."""

    QUEUED = "queued"
    """No member has begun."""
    RUNNING = "running"
    """Some have begun, and some are still to end."""
    PAUSED = "paused"
    """All that have not ended are paused."""
    SUCCEEDED = "succeeded"
    """All members succeeded."""
    FAILED = "failed"
    """All have ended, at least one of them failed."""
    CANCELLED = "cancelled"
    """All have ended, at least one was cancelled and none failed."""


class Counts(Resource):
    """How many members are in each state."""

    queued: int = 0
    """Waiting."""
    starting: int = 0
    """Taken by a worker."""
    running: int = 0
    """Training."""
    paused: int = 0
    """Paused."""
    succeeded: int = 0
    """Trained to their last step."""
    failed: int = 0
    """Failed."""
    cancelled: int = 0
    """Cancelled."""

    def of(self, *states: State) -> int:
        """How many are in one of these states."""
        return sum(int(getattr(self, state)) for state in states)


class SweepProgress(Resource):
    """How far the members are together."""

    steps_done: int
    """Steps completed by all members."""
    steps: int
    """Steps of all members."""
    fraction: float
    """steps_done / steps."""


class SweepView(Resource):
    """Many jobs out of one base spec. All but the request is read from the members as they are now."""

    id: str
    """Identifier, `sweep_…`."""
    object: Literal["sweep"] = "sweep"
    """Kind of this resource."""
    name: str
    """Label from the request."""
    state: SweepState
    """Where it is, derived from its members."""
    counts: Counts
    """Members by state."""
    progress: SweepProgress
    """How far the members are."""
    created_at: AwareDatetime
    """When it was accepted."""
    started_at: AwareDatetime | None
    """When the first member trained; null before."""
    finished_at: AwareDatetime | None
    """When the last member ended; null before."""
    spec: dict[str, JsonValue]
    """The base, as it came."""
    grid: dict[str, list[JsonValue]]
    """The grid, as it came."""
    overrides: list[dict[str, JsonValue]]
    """The overrides, as they came."""
    members: list[str]
    """Ids of the jobs, in the order of overrides and grid."""


class Configuration(Resource):
    """Members that differ in their seed alone."""

    fields: dict[str, JsonValue]
    """What they have in common of what varies: JSON pointer to value."""
    jobs: list[str]
    """The members."""
    summary: Summary | None
    """Mean and sample standard deviation over those that succeeded; null if none has."""


class SweepResults(Resource):
    """What came of a sweep's members, the best first."""

    object: Literal["sweep.results"] = "sweep.results"
    """Kind of this resource."""
    sweep: str
    """The sweep's id."""
    state: SweepState
    """Where it is."""
    fields: list[str]
    """JSON pointers at which the members' specs differ."""
    configurations: list[Configuration]
    """Members that differ in their seed alone, together; by mean quality, the best first."""
    data: list[Outcome]
    """The members: those with a result by quality, the best first, then those without."""
