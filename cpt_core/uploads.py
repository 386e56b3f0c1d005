"""Uploaded datasets on the machine that trains: fetched from the storage, checked and unpacked once. No torch."""

from __future__ import annotations

import hashlib
import secrets
import shutil
import tempfile
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from cpt_core import archives
from cpt_core.archives import ArchiveError
from cpt_core.lifecycle import Reason
from cpt_core.spec import Name
from cpt_core.storage import FileMissingError, StorageError, open_storage
from cpt_core.storage.base import chunks


class UploadError(Exception):
    """The uploaded dataset cannot be had here. The message says why."""

    def __init__(self, message: str, reason: Reason) -> None:
        super().__init__(message)
        self.reason = reason
        """`data_error`, which another attempt would only repeat, or `storage`."""


class Upload(BaseModel):
    """An uploaded dataset: what the name meant when the job was accepted."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    name: Name
    """Its name in the spec, and its folder below the data root."""
    path: Annotated[str, Field(min_length=1, max_length=500)]
    """The archive, relative to the storage root."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """Digest of the archive."""
    size: Annotated[int, Field(ge=0)]
    """Bytes of the archive."""
    unpacked: Annotated[int, Field(ge=0)]
    """Bytes of the files in it."""


def root_of(cache: Path, upload: Upload) -> Path:
    """The data root that has an uploaded dataset, and nothing else, once it was fetched."""
    return cache / "datasets" / upload.sha256


def fetch(storage: str, upload: Upload, cache: Path) -> None:
    """Have the dataset unpacked in `root_of(cache, upload) / upload.name`. Safe to be done by several at once.

    Raises:
        UploadError: it is gone, damaged, or there is no room for it.
    """
    final = root_of(cache, upload) / upload.name
    if final.is_dir():
        return
    partial = final.with_name(f"{upload.name}.{secrets.token_hex(6)}.partial")
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=final.parent) as archive:
            digest = hashlib.sha256()
            for piece in chunks(open_storage(storage), upload.path, 0, upload.size):
                digest.update(piece)
                archive.write(piece)
            if digest.hexdigest() != upload.sha256:
                message = f"The dataset {upload.name} is damaged in {storage}: upload it again."
                raise UploadError(message, Reason.DATA_ERROR)
            archives.unpack(archive, partial, upload.unpacked)
        try:
            partial.rename(final)
        except OSError:
            if not final.is_dir():  # else another was faster
                raise
            shutil.rmtree(partial)
    except (StorageError, ArchiveError, OSError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        final_fault = isinstance(error, FileMissingError | ArchiveError)
        raise UploadError(
            f"The dataset {upload.name} cannot be had on this worker: {error}",
            Reason.DATA_ERROR if final_fault else Reason.STORAGE,
        ) from error
