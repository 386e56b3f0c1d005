"""Checkpoints: one folder of safetensors files and a manifest with the digest of each. Nothing is ever unpickled.

    step-00000123/
        model.safetensors       parameters, and the buffers of rank 0: the export, and the model that was evaluated
        averaged.safetensors    only with training.averaging, once begun: the averaged parameters, and, where they were
                                just evaluated as at the end of a run, the buffers that go with them: then the export
        optimizer.safetensors   the optimiser's tensors, "<parameter>/<name>"
        rank-0001.safetensors   the buffers of rank 1 (batch norm statistics, running ranges), and so on for each rank
        manifest.json           a `Manifest`; written last

That is all the state there is: everything else (bit widths, learning rate, data order, augmentation, noise, cost) is a
function of the spec and the step. A folder without a manifest is no checkpoint. In a local storage the folder is
written under another name, flushed to the disk and renamed; an object store has no renaming, only the manifest's turn.

Importing this loads no torch; `cpt_core.checkpoint.state` saves and loads tensors.
"""

from cpt_core.checkpoint.files import (
    MANIFEST,
    CheckpointError,
    DamagedError,
    FileEntry,
    Manifest,
    describe,
    parse_manifest,
    prune,
)

__all__ = [
    "MANIFEST",
    "CheckpointError",
    "DamagedError",
    "FileEntry",
    "Manifest",
    "describe",
    "parse_manifest",
    "prune",
]
