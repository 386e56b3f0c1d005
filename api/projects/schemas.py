"""What clients see of projects."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from api.jobs.schemas import Resource

ProjectId = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$", description="Id of a project.")]
Label = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]*$")]

Count = Annotated[int, Field(ge=0, le=2**31 - 1)]
Size = Annotated[int, Field(ge=0, le=2**53)]


class ProjectLimits(BaseModel):
    """What a project may use; null: as much as it likes."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)

    requests_per_minute: Annotated[int, Field(ge=1, le=10**6)] | None = None
    """Requests a minute of all its keys together."""
    max_open_jobs: Count | None = None
    """Jobs that have not ended."""
    max_running_devices: Count | None = None
    """Devices of its jobs that run at the same time; further jobs wait in the queue."""
    max_steps: Count | None = None
    """Optimiser steps of one job."""
    max_parameters: Size | None = None
    """Parameters of a job's model, counted by the worker before it trains."""
    max_macs: Size | None = None
    """Multiply-accumulates of the model's forward pass on one sample, counted by the worker before it trains."""
    max_dataset_bytes: Size | None = None
    """Bytes of its stored datasets together."""


class ProjectView(Resource):
    """A project."""

    id: str
    """Identifier, chosen when it was made."""
    object: Literal["project"] = "project"
    """Kind of this resource."""
    name: str
    """Label for people."""
    created_at: AwareDatetime
    """When it was made."""
    limits: ProjectLimits
    """What it may use."""


class NewProject(BaseModel):
    """A project to make."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        use_attribute_docstrings=True,
        json_schema_extra={
            "examples": [{"id": "vision", "name": "Vision", "limits": {"max_open_jobs": 50, "max_running_devices": 8}}]
        },
    )

    id: ProjectId
    """Identifier: small letters, digits and hyphens; cannot be changed."""
    name: Label
    """Label for people."""
    limits: ProjectLimits = ProjectLimits()
    """What it may use."""


class ProjectPatch(BaseModel):
    """What to change of a project; what is left out stays."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        use_attribute_docstrings=True,
        json_schema_extra={"examples": [{"limits": {"max_open_jobs": 100, "max_steps": None}}]},
    )

    name: Label | None = None
    """Label for people; null: as it is."""
    limits: ProjectLimits = ProjectLimits()
    """The limits to change; those left out stay, null takes a limit away."""
