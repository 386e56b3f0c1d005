"""The files of a checkpoint and their manifest: how they are published, verified and deleted. No torch."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

import fsspec.core
from fsspec.implementations.local import LocalFileSystem
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from cpt_core import events
from cpt_core.range_test import Progress
from cpt_core.spec import JobSpec

MANIFEST = "manifest.json"
FORMAT = 1
REMEDY = "Resume from an earlier checkpoint, or start anew."

FileName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]*\.safetensors$")]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class CheckpointError(Exception):
    """A checkpoint cannot be written or read. The message names the file and says what to do."""


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
        filesystem, target = _locate(storage, path)
        write = _write_local_folder if isinstance(filesystem, LocalFileSystem) else _write_objects
        write(filesystem, target, {**files, MANIFEST: manifest_bytes})
    except OSError as error:
        raise CheckpointError(
            f"Checkpoint {path} cannot be written to {storage} ({error}): make room there, or make it writable."
        ) from error
    return _registered(path, manifest, manifest_bytes)


def read(storage: str, checkpoint: events.Checkpoint) -> tuple[Manifest, dict[str, bytes]]:
    """The manifest and the files of a checkpoint, all verified.

    Raises:
        CheckpointError: it is incomplete, damaged or not the one that was registered.
    """
    manifest, manifest_bytes = _read_manifest(storage, checkpoint.path)
    if hashlib.sha256(manifest_bytes).hexdigest() != checkpoint.sha256:
        raise CheckpointError(
            f"{checkpoint.path}/{MANIFEST} is not the one that was registered: it was replaced or damaged. {REMEDY}"
        )
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
    for path in paths:
        try:
            _delete(*_locate(storage, path))
        except OSError as error:
            raise CheckpointError(f"Checkpoint {path} cannot be deleted from {storage} ({error}).") from error


def _registered(path: str, manifest: Manifest, manifest_bytes: bytes) -> events.Checkpoint:
    return events.Checkpoint(
        step=manifest.step,
        path=path,
        sha256=hashlib.sha256(manifest_bytes).hexdigest(),
        size=len(manifest_bytes) + sum(entry.size for entry in manifest.files.values()),
    )


def _locate(storage: str, path: str) -> tuple[Any, str]:
    """The file system of a storage, and the full name there of a path below its root."""
    parts = PurePosixPath(path)
    if parts.is_absolute() or ".." in parts.parts or not parts.parts:
        raise CheckpointError(f"{path!r} is no path below the storage root.")
    filesystem, root = fsspec.core.url_to_fs(storage)
    return filesystem, f"{root.rstrip('/')}/{parts}"


def _read_manifest(storage: str, path: str) -> tuple[Manifest, bytes]:
    content = _read(storage, f"{path}/{MANIFEST}")
    try:
        return Manifest.model_validate_json(content), content
    except ValidationError as error:
        first = error.errors()[0]
        where = "/".join(str(part) for part in first["loc"])
        raise CheckpointError(
            f"{path}/{MANIFEST} is no manifest of format {FORMAT} ({where}: {first['msg']}): "
            "it is damaged, or another version of this software wrote it."
        ) from error


def _read_file(storage: str, path: str, entry: FileEntry) -> bytes:
    content = _read(storage, path)
    if len(content) != entry.size or hashlib.sha256(content).hexdigest() != entry.sha256:
        raise CheckpointError(f"{path} is damaged: its content is not what the manifest says. {REMEDY}")
    return content


def _read(storage: str, path: str) -> bytes:
    filesystem, full = _locate(storage, path)
    try:
        return bytes(filesystem.cat_file(full))
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} is not in {storage}: the checkpoint is incomplete or gone. {REMEDY}") from error
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read from {storage} ({error}).") from error


def _write_objects(filesystem: Any, target: str, files: dict[str, bytes]) -> None:
    """Write the files in order, so that the manifest, the last, is there only when all others are."""
    _delete(filesystem, target)
    for name, content in files.items():
        filesystem.pipe_file(f"{target}/{name}", content)


def _write_local_folder(filesystem: LocalFileSystem, target: str, files: dict[str, bytes]) -> None:
    """Write the files under another name, flush them to the disk, and then give the folder its name."""
    final = Path(target)
    partial = final.with_name(f"{final.name}.partial")
    for leftover in final.parent.glob("*.partial"):  # of a run that was killed
        shutil.rmtree(leftover)
    partial.mkdir(parents=True)
    try:
        for name, content in files.items():
            with (partial / name).open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
    except OSError:
        shutil.rmtree(partial, ignore_errors=True)  # a full disk needs the room
        raise
    _sync_folder(partial)
    _delete(filesystem, target)
    partial.rename(final)
    _sync_folder(final.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _delete(filesystem: Any, target: str) -> None:
    """Delete a checkpoint, its manifest first, so that what a crash leaves is not taken for one."""
    for path in (f"{target}/{MANIFEST}", target):
        if filesystem.exists(path):
            filesystem.rm(path, recursive=True)
