"""What clients see of checkpoints."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AwareDatetime, Field

from api.jobs.schemas import Resource

CheckpointId = Annotated[str, Field(pattern=r"^ckpt_[0-9a-f]{24}$", description="Id of a checkpoint.")]
FileName = Annotated[
    str,
    Field(
        pattern=r"^[a-z0-9][a-z0-9-]*\.(safetensors|json)$",
        max_length=100,
        description="Name of a file of the checkpoint.",
    ),
]


class CheckpointItem(Resource):
    """A checkpoint that is kept."""

    id: str
    """Identifier, `ckpt_…`."""
    object: Literal["checkpoint"] = "checkpoint"
    """Kind of this resource."""
    job_id: str
    """The job."""
    attempt: int
    """Attempt that made it."""
    kind: Literal["regular", "best"]
    """`best`: of the best evaluation, kept by `checkpoint.keep_best`. A job resumes from the last `regular` one."""
    step: int
    """Steps completed."""
    path: str
    """Folder, relative to the storage root."""
    sha256: str
    """Digest of the manifest, which lists the digests of the files."""
    size: int
    """Bytes of all files."""
    created_at: AwareDatetime
    """When it was made."""


class CheckpointFile(Resource):
    """A file of a checkpoint."""

    name: str
    """Its name."""
    size: int
    """Bytes."""
    sha256: str
    """Digest of its content; the ETag of its download."""


class CheckpointDetail(CheckpointItem):
    """A checkpoint and its files."""

    files: list[CheckpointFile]
    """All files, the manifest the last."""
