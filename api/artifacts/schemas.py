"""What clients see of artifacts."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AwareDatetime, Field

from api.jobs.schemas import Resource

ArtifactId = Annotated[str, Field(pattern=r"^art_[0-9a-f]{24}$", description="Id of an artifact.")]


class ArtifactItem(Resource):
    """A file of a job."""

    id: str
    """Identifier, `art_…`."""
    object: Literal["artifact"] = "artifact"
    """Kind of this resource."""
    job_id: str
    """The job."""
    attempt: int
    """Attempt that it is of."""
    kind: Literal["log"]
    """`log`: the output of a rank, or of the launcher, of an attempt that is over."""
    name: str
    """Its name, unique in the job, such as `attempt-1/rank-0.log`."""
    media_type: str
    """Its media type."""
    sha256: str
    """Digest of its content; the ETag of its download."""
    size: int
    """Bytes."""
    created_at: AwareDatetime
    """When it was stored."""
