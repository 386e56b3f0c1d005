"""A model's buffers (batch norm statistics, running ranges), which each rank has its own of, as one tensor of bytes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from cpt_core.train.ranks import Ranks


def persistent_buffers(model: nn.Module) -> dict[str, Tensor]:
    """The buffers that belong to a checkpoint, by name: the model's own tensors."""
    parameters = dict(model.named_parameters(remove_duplicate=False))  # tied weights by all their names
    return {name: tensor for name, tensor in model.state_dict().items() if name not in parameters}


def pack(buffers: dict[str, Tensor]) -> Tensor:
    """A copy of the buffers, one after the other, as uint8."""
    return torch.cat([buffer.reshape(-1).view(torch.uint8) for buffer in buffers.values()])


def unpack(packed: Tensor, like: dict[str, Tensor]) -> dict[str, Tensor]:
    """The buffers in `packed`, in the names, shapes and types of `like`."""
    sizes = [buffer.numel() * buffer.element_size() for buffer in like.values()]
    parts = torch.split(packed, sizes)
    return {
        # Cloned, since a part may begin where its type must not.
        name: part.clone().view(buffer.dtype).view(buffer.shape)
        for (name, buffer), part in zip(like.items(), parts, strict=True)
    }


def overwrite(buffers: dict[str, Tensor], values: dict[str, Tensor]) -> None:
    """Set the buffers, in place."""
    for name, buffer in buffers.items():
        buffer.copy_(values[name])


@contextmanager
def buffers_kept(model: nn.Module) -> Iterator[None]:
    """Whatever happens to the model's buffers inside is undone."""
    buffers = persistent_buffers(model)
    kept = {name: buffer.clone() for name, buffer in buffers.items()}
    try:
        yield
    finally:
        overwrite(buffers, kept)


@contextmanager
def buffers_of_rank_0(model: nn.Module, ranks: Ranks) -> Iterator[None]:
    """Inside, the model of every rank has rank 0's buffers, and so is the one that checkpoints export."""
    with buffers_kept(model):
        buffers = persistent_buffers(model)
        packed = pack(buffers)
        ranks.broadcast(packed)
        overwrite(buffers, unpack(packed, buffers))
        yield
