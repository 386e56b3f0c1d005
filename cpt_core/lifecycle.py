"""States of a job, the reasons it ends for, and the one table of legal transitions. Pure; no I/O."""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """State of a job. The last three are final."""

    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Action(StrEnum):
    """What a client can do with a job."""

    CANCEL = "cancel"
    PAUSE = "pause"
    RESUME = "resume"
    RETRY = "retry"
    CLONE = "clone"
    ARCHIVE = "archive"
    UNARCHIVE = "unarchive"
    DELETE = "delete"


ACTIVE = frozenset({State.STARTING, State.RUNNING})
"""A worker holds an attempt."""

FINAL = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED})
"""Nothing changes any more."""

TRANSITIONS: dict[State, frozenset[State]] = {
    State.QUEUED: frozenset({State.STARTING, State.PAUSED, State.FAILED, State.CANCELLED}),
    State.STARTING: frozenset({State.RUNNING, State.QUEUED, State.PAUSED, State.FAILED, State.CANCELLED}),
    State.RUNNING: frozenset({State.QUEUED, State.PAUSED, State.SUCCEEDED, State.FAILED, State.CANCELLED}),
    State.PAUSED: frozenset({State.QUEUED, State.CANCELLED}),
    State.SUCCEEDED: frozenset(),
    State.FAILED: frozenset(),
    State.CANCELLED: frozenset(),
}
"""Where each state may go."""


class Reason(StrEnum):
    """Why an attempt or a job ended."""

    COMPLETED = "completed"
    """Trained to the last step."""
    USER = "user"
    """Somebody asked for it."""
    SPEC_ERROR = "spec_error"
    """The spec cannot be trained on this worker."""
    DATA_ERROR = "data_error"
    """The dataset is missing or corrupt."""
    DIVERGED = "diverged"
    """NaN or infinity in training."""
    OOM = "oom"
    """Out of memory."""
    RANK_FAILED = "rank_failed"
    """A training process died."""
    HUNG = "hung"
    """No progress for too long."""
    TIMEOUT = "timeout"
    """It waited or ran for longer than the spec's limits allow."""
    STORAGE = "storage"
    """Checkpoints cannot be written or read."""
    CHECKPOINT_DAMAGED = "checkpoint_damaged"
    """The checkpoint to go on from is not what was registered; the next attempt goes on from the one before it."""
    WORKER_LOST = "worker_lost"
    """The worker fell silent for longer than the lease."""
    PREEMPTED = "preempted"
    """The worker was told to go; the job continues elsewhere."""
    INTERNAL = "internal"
    """A defect of this software."""


FATAL = frozenset({Reason.SPEC_ERROR, Reason.DATA_ERROR, Reason.DIVERGED, Reason.TIMEOUT})
"""Failures that another attempt would only repeat."""

NO_STRIKE = frozenset({Reason.PREEMPTED, Reason.USER})
"""Ends of an attempt that say nothing about the job."""

MAX_STRIKES = 3
"""Attempts that may fail in a row without a new checkpoint."""
