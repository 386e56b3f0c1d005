"""Files that outlive a machine: checkpoints, logs, datasets, below one root that the API and all workers share.

    checkpoints/JOB/ATTEMPT/step-…/    see `cpt_core.checkpoint`
    checkpoints/JOB/best/step-…/       the checkpoint of the best evaluation
    logs/JOB/ATTEMPT/rank-N.log        what a rank printed, once its attempt is over
    datasets/DATASET                   an uploaded archive
    access/…                           there for a moment when a worker starts

The root is a folder or an fsspec URL (`s3://bucket/prefix`). What is written is there whole or not at all. Paths are
relative to the root and lead nowhere else. Importing this loads neither torch nor fsspec.
"""

from __future__ import annotations

import io
import secrets

from cpt_core.storage.base import FileMissingError, Storage, StorageError
from cpt_core.storage.local import LocalStorage

__all__ = [
    "FileMissingError",
    "Storage",
    "StorageError",
    "best_folder",
    "check_access",
    "checkpoint_folder",
    "checkpoints_of",
    "dataset_file",
    "log_file",
    "logs_of",
    "open_storage",
]


def open_storage(url: str) -> Storage:
    """The storage at `url`: a folder, which is made when it is first written to, or an fsspec URL.

    Credentials and end points are the ones that the store's own library finds, such as `AWS_ACCESS_KEY_ID`.

    Raises:
        StorageError: no library for such a URL is installed.
    """
    if "://" not in url or url.startswith("file://"):
        return LocalStorage(url.removeprefix("file://"))
    from cpt_core.storage.objects import ObjectStorage  # fsspec is for object stores alone

    return ObjectStorage(url)


def check_access(url: str) -> None:
    """Write, read and delete a file, to find out now and not when the first checkpoint is due.

    Raises:
        StorageError: one of them failed.
    """
    storage, path = open_storage(url), f"access/{secrets.token_hex(8)}"
    storage.put(path, io.BytesIO(b"cpt"))
    try:
        if storage.read(path) != b"cpt":
            raise StorageError("what was written is not what is read")
    finally:
        storage.delete(path)


def checkpoints_of(job_id: str) -> str:
    """Folder of all of a job's checkpoints."""
    return f"checkpoints/{job_id}"


def checkpoint_folder(job_id: str, attempt: int) -> str:
    """Folder of an attempt's checkpoints."""
    return f"{checkpoints_of(job_id)}/{attempt}"


def best_folder(job_id: str) -> str:
    """Folder of the checkpoint of a job's best evaluation."""
    return f"{checkpoints_of(job_id)}/best"


def logs_of(job_id: str) -> str:
    """Folder of all of a job's logs."""
    return f"logs/{job_id}"


def log_file(job_id: str, attempt: int, source: str) -> str:
    """What a rank of an attempt, or the launcher, printed."""
    return f"{logs_of(job_id)}/{attempt}/{source}.log"


def dataset_file(dataset_id: str) -> str:
    """An uploaded dataset's archive."""
    return f"datasets/{dataset_id}"
