"""What a checkpoint is of: the tensors that training continues from, to and from the files."""

from __future__ import annotations

from dataclasses import dataclass

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from cpt_core import events
from cpt_core.checkpoint.files import REMEDY, CheckpointError, Manifest, publish, read
from cpt_core.checkpoint.weights import AVERAGED, MODEL
from cpt_core.range_test import Progress
from cpt_core.spec import JobSpec

Tensors = dict[str, Tensor]

OPTIMIZER = "optimizer.safetensors"
CARRIED = "carried.safetensors"


@dataclass(frozen=True, slots=True)
class State:
    """What a rank needs to continue: tensors by name, on the CPU."""

    manifest: Manifest
    model: Tensors
    """Parameters, and rank 0's buffers."""
    optimizer: Tensors
    """The optimiser's tensors, "<parameter>/<name>"."""
    buffers: Tensors
    """The rank's own buffers; empty for rank 0, whose are in `model`."""
    carried: Tensors
    """What the rank carries from step to step besides, such as the state of an LSTM; often empty."""
    averaged: Tensors
    """The averaged weights, and after an evaluation of them rank 0's buffers that go with them; often empty."""

    @property
    def exported(self) -> Tensors:
        """The model that was evaluated: parameters and buffers, averaged if all are here, else those of `model`."""
        return self.averaged if self.averaged.keys() == self.model.keys() else self.model


def save(
    storage: str,
    folder: str,
    *,
    step: int,
    spec: JobSpec,
    model: Tensors,
    optimizer: Tensors,
    ranks: list[Tensors],
    carried: Tensors | None = None,
    averaged: Tensors | None = None,
    best: events.Best | None = None,
    range_test: Progress | None = None,
) -> events.Checkpoint:
    """Write a checkpoint, replacing an older one of the same step.

    Args:
        storage: root of the storage, a folder or an fsspec URL.
        folder: where below the root, without the step's own folder. One run writes there at a time.
        step: steps completed.
        spec: what is trained.
        model: parameters, and rank 0's buffers.
        optimizer: the optimiser's tensors.
        ranks: the buffers of rank 1, 2, ….
        carried: what the ranks carry from step to step besides, one rank after the other in the first dimension.
        averaged: the averaged weights, perhaps with their buffers.
        best: the best evaluation until then.
        range_test: the precision range test until then.

    Raises:
        CheckpointError: the storage is full or cannot be written.
    """
    files = {MODEL: _to_bytes(model), OPTIMIZER: _to_bytes(optimizer)}
    files |= {_rank_file(rank): _to_bytes(buffers) for rank, buffers in enumerate(ranks, start=1)}
    if carried:
        files[CARRIED] = _to_bytes(carried)
    if averaged:
        files[AVERAGED] = _to_bytes(averaged)
    world_size = len(ranks) + 1
    return publish(
        storage, folder, step=step, world_size=world_size, spec=spec, files=files, best=best, range_test=range_test
    )


def load(storage: str, checkpoint: events.Checkpoint, *, rank: int = 0) -> State:
    """Read a checkpoint. All its files are verified, those of other ranks too, so that all ranks fail or none.

    Raises:
        CheckpointError: it is incomplete, damaged or not the one that was registered.
    """
    manifest, files = read(storage, checkpoint)
    wanted = [MODEL, OPTIMIZER, *(_rank_file(other) for other in range(1, manifest.world_size))]
    if sorted(set(files) - {CARRIED, AVERAGED}) != sorted(wanted):
        raise CheckpointError(f"The manifest in {checkpoint.path} does not list {', '.join(wanted)}. {REMEDY}")
    try:
        carried, averaged = (
            safetensors.torch.load(files[name]) if name in files else {} for name in (CARRIED, AVERAGED)
        )
        return State(
            manifest,
            model=safetensors.torch.load(files[MODEL]),
            optimizer=safetensors.torch.load(files[OPTIMIZER]),
            buffers=safetensors.torch.load(files[_rank_file(rank)]) if 0 < rank < manifest.world_size else {},
            carried={name: tensor[rank] for name, tensor in carried.items() if rank < len(tensor)},
            averaged=averaged,
        )
    except SafetensorError as error:
        raise CheckpointError(f"{checkpoint.path} holds a file that is no safetensors ({error}). {REMEDY}") from error


def _rank_file(rank: int) -> str:
    return f"rank-{rank:04d}.safetensors"


def _to_bytes(tensors: Tensors) -> bytes:
    own = dict[str, Tensor]()
    stored = set[int]()
    for name, tensor in tensors.items():
        own[name] = tensor.detach().cpu().contiguous()
        if own[name].data_ptr() in stored:  # tied weights: safetensors refuses tensors that share memory
            own[name] = own[name].clone()
        stored.add(own[name].data_ptr())
    return safetensors.torch.save(own)
