"""How a run's bad end is told: by one `finished` event, whichever rank failed."""

from __future__ import annotations

import sys
import traceback

import torch
import torch.distributed as dist

from cpt_core.checkpoint import CheckpointError, DamagedError
from cpt_core.data import DataError
from cpt_core.events import Finished, Log, dump
from cpt_core.launch import PEER_LOST
from cpt_core.lifecycle import Reason
from cpt_core.train.errors import DivergedError, SpecError
from cpt_core.train.ranks import Ranks
from cpt_core.train.recorder import Emit

_LONGEST_MESSAGE = 8192


def tell(error: Exception, emit: Emit, ranks: Ranks | None) -> int:
    """Have rank 0 record the end that `error` brought about. Returns the exit code of this rank.

    A rank that only lost another one leaves the telling to that one, through the store, or to the launcher, which sees
    what a process that was killed cannot say. `ranks` is None if they have not met.
    """
    if ranks is None and is_peer_lost(error):  # it went while they were about to meet
        return PEER_LOST
    finished = describe(error)
    if ranks is not None and ranks.world_size > 1:
        if ranks.rank > 0:
            if is_peer_lost(error):
                return PEER_LOST
            ranks.report_failure(dump(finished))
            return 1
        if is_peer_lost(error):
            word = ranks.reported_failure()
            if word is None:
                return PEER_LOST
            finished = Finished.model_validate_json(word)
    try:
        if finished.reason == Reason.INTERNAL:
            trace = "".join(traceback.format_exception(error))
            emit(Log(level="error", message=trace[-_LONGEST_MESSAGE:], rank=0))
        emit(finished)
    except OSError as lost:
        sys.stderr.write(f"The end of this run could not be recorded: {lost}\n")
    if ranks is not None:
        ranks.told()
    return 1


def describe(error: Exception) -> Finished:
    """The end of a run that `error` brought about."""
    message = str(error)
    match error:
        case SpecError():
            reason = Reason.SPEC_ERROR
        case DataError():
            reason = Reason.DATA_ERROR
        case DivergedError():
            reason = Reason.DIVERGED
        case DamagedError():
            reason = Reason.CHECKPOINT_DAMAGED
        case CheckpointError():
            reason = Reason.STORAGE
        case _ if _is_out_of_memory(error):
            reason = Reason.OOM
            message = f"Out of memory: lower training.batch_size or use more or larger devices. ({message})"
        case _:
            reason = Reason.INTERNAL
            message = f"Training failed by a defect of this software: {type(error).__name__}: {message}"
    return Finished(outcome="failed", reason=reason, message=message[:_LONGEST_MESSAGE])


def is_peer_lost(error: Exception) -> bool:
    """Whether a collective failed because another rank is gone; then the cause is to be found there."""
    return isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error))


def _is_out_of_memory(error: Exception) -> bool:
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    # The CPU allocator raises a bare RuntimeError.
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
