"""The memory that a training step keeps between its forward and its backward pass."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from cpt_core.bench.workloads import Step


def saved_bytes(step: Step, parameters: Iterable[Tensor]) -> int:
    """Bytes that autograd keeps for the backward pass in one call of `step`.

    Each piece of memory counts once and whole, however many tensors are views of it; that of `parameters` does not.
    """
    storages = {parameter.untyped_storage().data_ptr() for parameter in parameters}
    total = 0

    # A compiled step is to call it, not to compile it too.
    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def take(tensor: Tensor) -> Tensor:
        nonlocal total
        storage = tensor.untyped_storage()
        # What is kept is not freed before the backward pass, so an address stands for one piece of memory.
        if storage.data_ptr() not in storages:
            storages.add(storage.data_ptr())
            total += storage.nbytes()
        return tensor.detach()

    with saved_tensors_hooks(take, lambda tensor: tensor):
        step()
    return total
