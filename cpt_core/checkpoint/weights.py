"""Which file of a checkpoint has the weights to export, told by the files' headers alone. No torch."""

from __future__ import annotations

import json
from collections.abc import Container

from cpt_core.checkpoint.files import CheckpointError
from cpt_core.storage import Storage

MODEL = "model.safetensors"
AVERAGED = "averaged.safetensors"

_MAX_HEADER = 100_000_000  # safetensors' own limit


def exported(storage: Storage, path: str, files: Container[str]) -> str:
    """Name of the file with the model that was evaluated, of the checkpoint in folder `path` that has `files`.

    Raises:
        CheckpointError: a file that is needed is missing or no safetensors.
        StorageError: the storage refused.
    """
    if MODEL not in files:
        raise CheckpointError(f"{path} has no {MODEL}.")
    if AVERAGED not in files:
        return MODEL
    model, averaged = (_names(storage, f"{path}/{name}") for name in (MODEL, AVERAGED))
    return AVERAGED if averaged == model else MODEL


def _names(storage: Storage, path: str) -> set[str]:
    """Names of the tensors in a safetensors file, whose header is JSON behind its length in 8 bytes."""
    length = int.from_bytes(storage.read(path, 0, 8), "little")
    if not 0 < length <= _MAX_HEADER:
        raise CheckpointError(f"{path} is no safetensors file.")
    try:
        header = json.loads(storage.read(path, 8, 8 + length))
        return set(header) - {"__metadata__"}
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"{path} is no safetensors file ({error}).") from error
