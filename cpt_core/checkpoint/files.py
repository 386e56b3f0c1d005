"""The files of a checkpoint and their manifest: how they are published, verified and deleted. No torch."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from cpt_core import events
from cpt_core.range_test import Progress
from cpt_core.spec import JobSpec
from cpt_core.storage import FileMissingError, StorageError, open_storage

MANIFEST = "manifest.json"
FORMAT = 1
REMEDY = "Resume from an earlier checkpoint, or start anew."

FileName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]*\.safetensors$")]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class CheckpointError(Exception):
    """A checkpoint cannot be written or read. The message names the file and says what to do."""


class DamagedError(CheckpointError):
    """A checkpoint is there and readable, but it is not what was registered."""


class FileEntry(BaseModel):
    """One file of a checkpoint."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    sha256: Digest
    """Digest of the content."""
    size: Annotated[int, Field(ge=0)]
    """Bytes."""


class Manifest(BaseModel):
    """What a checkpoint holds. A checkpoint is complete only with it."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    format: Literal[1] = 1
    """Version of this layout."""
    step: events.Step
    """Steps completed."""
    world_size: Annotated[int, Field(ge=1)]
    """Ranks that trained."""
    spec: JobSpec
    """What was trained."""
    best: events.Best | None = None
    """The best evaluation until then; null if there was none."""
    range_test: Progress | None = None
    """The precision range test until then; null where the spec has none."""
    files: dict[FileName, FileEntry]
    """All other files of the folder."""


def folder_of(folder: str, step: int) -> str:
    """Where below `folder` the checkpoint after `step` steps lies; sorts by step."""
    return f"{folder}/step-{step:08d}"


def publish(
    storage: str,
    folder: str,
    *,
    step: int,
    world_size: int,
    spec: JobSpec,
    files: dict[str, bytes],
    best: events.Best | None = None,
    range_test: Progress | None = None,
) -> events.Checkpoint:
    """Write the files of the checkpoint after `step` steps into their own folder below `folder`, and the manifest.

    An older checkpoint of the same step is replaced. One run writes to `folder` at a time.

    Raises:
        CheckpointError: the storage is full or cannot be written.
    """
    entries = {
        name: FileEntry(sha256=hashlib.sha256(content).hexdigest(), size=len(content))
        for name, content in files.items()
    }
    manifest = Manifest(step=step, world_size=world_size, spec=spec, best=best, range_test=range_test, files=entries)
    manifest_bytes = manifest.model_dump_json(indent=1).encode()
    path = folder_of(folder, step)
    try:
        open_storage(storage).put_folder(path, {**files, MANIFEST: manifest_bytes}, last=MANIFEST)
    except StorageError as error:
        raise CheckpointError(f"Checkpoint {error}: make room there, or make it writable.") from error
    return _registered(path, manifest, manifest_bytes)


def read(storage: str, checkpoint: events.Checkpoint) -> tuple[Manifest, dict[str, bytes]]:
    """The manifest and the files of a checkpoint, all verified.

    Raises:
        DamagedError: it is incomplete, damaged or not the one that was registered.
        CheckpointError: it cannot be read, or is not there at all, as when the storage is not.
    """
    manifest_bytes = _read(storage, f"{checkpoint.path}/{MANIFEST}")
    if hashlib.sha256(manifest_bytes).hexdigest() != checkpoint.sha256:
        raise DamagedError(f"{checkpoint.path}/{MANIFEST} is damaged: it is not the one that was registered. {REMEDY}")
    manifest = parse_manifest(checkpoint.path, manifest_bytes)
    return manifest, {
        name: _read_file(storage, f"{checkpoint.path}/{name}", entry) for name, entry in manifest.files.items()
    }


def describe(storage: str, path: str) -> events.Checkpoint:
    """The checkpoint in folder `path` below the storage root, as it was registered when it was made.

    Raises:
        CheckpointError: there is none, or its manifest is damaged.
    """
    return _registered(path, *_read_manifest(storage, path))


def prune(storage: str, paths: Iterable[str]) -> None:
    """Delete the checkpoints in these folders below the storage root; one that is gone already is no error.

    Raises:
        CheckpointError: the storage refused.
    """
    try:
        files = open_storage(storage)
        for path in paths:
            files.delete(f"{path}/{MANIFEST}")  # first: what a crash leaves is not taken for a checkpoint
            files.delete(path)
    except StorageError as error:
        raise CheckpointError(f"Checkpoint {error}.") from error


def _registered(path: str, manifest: Manifest, manifest_bytes: bytes) -> events.Checkpoint:
    return events.Checkpoint(
        step=manifest.step,
        path=path,
        sha256=hashlib.sha256(manifest_bytes).hexdigest(),
        size=len(manifest_bytes) + sum(entry.size for entry in manifest.files.values()),
    )


def _read_manifest(storage: str, path: str) -> tuple[Manifest, bytes]:
    content = _read(storage, f"{path}/{MANIFEST}")
    return parse_manifest(path, content), content


def parse_manifest(path: str, content: bytes) -> Manifest:
    """The manifest of the checkpoint in folder `path`, of its bytes.

    Raises:
        CheckpointError: it is none of this version.
    """
    try:
        return Manifest.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = "/".join(str(part) for part in first["loc"])
        raise CheckpointError(
            f"{path}/{MANIFEST} is no manifest of format {FORMAT} ({where}: {first['msg']}): "
            "it is damaged, or another version of this software wrote it."
        ) from error


def _read_file(storage: str, path: str, entry: FileEntry) -> bytes:
    try:
        content = open_storage(storage).read(path)
    except FileMissingError as error:
        raise DamagedError(f"{error}: the checkpoint is damaged, a file of it is gone. {REMEDY}") from error
    except StorageError as error:
        raise CheckpointError(f"{error}.") from error
    if len(content) != entry.size or hashlib.sha256(content).hexdigest() != entry.sha256:
        raise DamagedError(f"{path} is damaged: its content is not what the manifest says. {REMEDY}")
    return content


def _read(storage: str, path: str) -> bytes:
    try:
        return open_storage(storage).read(path)
    except FileMissingError as error:
        raise CheckpointError(f"{error}: the checkpoint is incomplete or gone. {REMEDY}") from error
    except StorageError as error:
        raise CheckpointError(f"{error}.") from error
