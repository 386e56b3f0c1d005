"""The ranks of a run and what they say to each other. A run alone is a group of one: the same code, no waiting."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, cast

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.rendezvous import rendezvous

from cpt_core.process import cores
from cpt_core.train.errors import SpecError

COLLECTIVE_TIMEOUT = timedelta(minutes=10)
"""How long a rank waits for the others. Longer than any pause a healthy rank makes: a checkpoint, a full FIFO."""

_FAILURE, _TOLD = "cpt/failure", "cpt/told"
_TELLING_TIMEOUT = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class Ranks:
    """This rank's place among all, and the operations that all ranks must call together."""

    rank: int
    world_size: int
    device: torch.device
    store: dist.Store  # type: ignore[name-defined]  # torch has no types for it
    local_world_size: int
    """Ranks on this node."""

    def sum(self, values: Sequence[Tensor | float]) -> list[float]:
        """The sums over the ranks of some 0-d tensors or numbers, in float64, by one all-reduce."""
        total = torch.stack([torch.as_tensor(value, dtype=torch.float64, device=self.device) for value in values])
        dist.all_reduce(total)
        result: list[float] = total.tolist()
        return result

    def gather(self, data: Tensor) -> list[Tensor]:
        """`data` of every rank, by rank; shapes must be equal."""
        everyone = [torch.empty_like(data) for _ in range(self.world_size)]
        dist.all_gather(everyone, data)
        return everyone

    def new_group(self) -> dist.ProcessGroup:
        """All ranks once more, with connections of their own, for operations that must not meet with others."""
        return cast(dist.ProcessGroup, dist.new_group(timeout=COLLECTIVE_TIMEOUT))  # every rank is a member

    def broadcast(self, data: Tensor) -> None:
        """Overwrite `data` with rank 0's."""
        dist.broadcast(data, src=0)

    @contextmanager
    def rank_0_first(self) -> Iterator[None]:
        """The other ranks begin when rank 0 is through."""
        if self.rank > 0:
            dist.barrier()
        yield
        if self.rank == 0:
            dist.barrier()

    def report_failure(self, finished: str) -> None:
        """Leave word of this rank's failure for rank 0, and give it time to pass it on before it is stopped too."""
        self.store.set(_FAILURE, finished)
        try:
            self.store.wait([_TOLD], _TELLING_TIMEOUT)
        except dist.DistError:
            return  # rank 0 sees it when this rank's connections close

    def reported_failure(self) -> str | None:
        """Another rank's word of its failure, if there is one."""
        return self.store.get(_FAILURE).decode() if self.store.check([_FAILURE]) else None

    def told(self) -> None:
        """Rank 0's word that the end has been recorded."""
        self.store.set(_TOLD, "")

    def leave(self) -> None:
        """Part from the others."""
        dist.destroy_process_group()


def join(wanted: Literal["auto", "cpu", "cuda"]) -> Ranks:
    """Meet the other ranks as torchrun's environment says, or form a group of one without it.

    Raises:
        SpecError: this machine has fewer devices than ranks.
    """
    local_rank, local_world_size = (int(os.environ.get(name, default)) for name, default in _LOCAL)
    device = _device(wanted, local_rank, local_world_size)
    if "RANK" in os.environ:
        store, rank, world_size = next(rendezvous("env://", timeout=COLLECTIVE_TIMEOUT))
    else:
        store, rank, world_size = dist.HashStore(), 0, 1  # type: ignore[attr-defined]
    dist.init_process_group(
        backend="nccl" if device.type == "cuda" else "gloo",
        store=store,
        rank=rank,
        world_size=world_size,
        timeout=COLLECTIVE_TIMEOUT,
        device_id=device if device.type == "cuda" else None,
    )
    return Ranks(rank, world_size, device, store, local_world_size)


def settle_arithmetic(*, tf32: bool, deterministic: bool) -> None:
    """How GPUs compute, see `resources.tf32` and `resources.deterministic`. Call it before CUDA is first used."""
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it when it starts
        torch.use_deterministic_algorithms(True, warn_only=True)
        # Else each new tensor would be filled first, for programs that read what they have not written.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    # torch's own defaults let convolutions use TF32 and products not.
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32


def threads_per_rank() -> int:
    """The cores this process may use, shared among the ranks of this machine."""
    return max(1, cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


_LOCAL = (("LOCAL_RANK", "0"), ("LOCAL_WORLD_SIZE", "1"))


def _device(wanted: Literal["auto", "cpu", "cuda"], local_rank: int, local_world_size: int) -> torch.device:
    """The rank's own device; "auto" is CUDA if there is a device for each rank of this machine, else the CPU."""
    available = torch.cuda.device_count() if wanted != "cpu" else 0
    if wanted == "cpu" or (wanted == "auto" and available < local_world_size):
        return torch.device("cpu")
    if available < local_world_size:
        raise SpecError(
            f"The run needs {local_world_size} CUDA device(s), but this machine offers {available}: "
            "lower resources.devices, or set resources.device to cpu."
        )
    device = torch.device("cuda", local_rank)
    torch.cuda.set_device(device)
    return device
