"""What clients see of datasets."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AwareDatetime, Field

from api.jobs.schemas import Resource

DatasetId = Annotated[str, Field(pattern=r"^ds_[0-9a-f]{24}$")]


class DatasetItem(Resource):
    """An uploaded dataset. It never changes."""

    id: str
    """Identifier, `ds_…`."""
    object: Literal["dataset"] = "dataset"
    """Kind of this resource."""
    name: str
    """What a spec calls it: `dataset: {upload: NAME, …}`."""
    sha256: str
    """Digest of the archive."""
    size: int
    """Bytes of the archive."""
    files: int
    """Files in it."""
    unpacked_size: int
    """Bytes of these files."""
    created_at: AwareDatetime
    """When it was uploaded."""
