"""How an attempt ended, as its last record says it. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from cpt_core.events import Finished
from cpt_core.lifecycle import FATAL, NO_STRIKE, Reason
from cpt_core.protocol import NodeFailure
from worker.causes import Cause

_OWN_FAULT = FATAL | {Reason.OOM, Reason.STORAGE, Reason.CHECKPOINT_DAMAGED}
"""Failures that are training's own, and not what a rank sees when others are being stopped."""

_OUT_OF_MEMORY = re.compile(
    r"out of memory|OutOfMemoryError|MemoryError|can't allocate memory|Cannot allocate memory|bad_alloc", re.IGNORECASE
)
_LONGEST_MESSAGE = 8192


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of an attempt whose processes are gone."""

    causes: frozenset[Cause] = frozenset()
    """Why the worker stopped it; empty: it ended by itself."""
    finished: Finished | None = None
    """How rank 0 says it ended."""
    exit_code: int | None = None
    """The launcher's exit code, or minus the signal that ended it; None: it was never started."""
    failure: str | None = None
    """What the rank that failed first died of, a sentence on one line; below it the end of its output."""
    refusal: str = ""
    """The API's words on a refused record."""
    hung_seconds: float = 0.0
    """The limit that was passed without progress."""
    max_runtime: float = 0.0
    """The training time, in seconds, that the spec allows."""
    blind_seconds: float = 0.0
    """The limit that was passed without an answer."""
    node: NodeFailure | None = None
    """What ended the processes of another node."""


def end_record(facts: Facts) -> Finished:
    """The attempt's last record.

    What rank 0 says holds if it succeeded and all its records are stored, or if nobody stopped it and the exit code
    agrees. Otherwise the strongest cause says what the end was: somebody's cancel before all, then a failure, a pause,
    and the worker's own going.
    """
    said, causes = facts.finished, facts.causes
    succeeded = said is not None and said.outcome == "succeeded"
    if said is not None and succeeded and Cause.REFUSED not in causes and (causes or facts.exit_code == 0):
        return said
    if Cause.CANCEL in causes:
        return Finished(outcome="cancelled", reason=Reason.USER, message="Cancelled on request.")
    if said is not None and said.outcome == "failed" and (causes <= {Cause.NODE} or said.reason in _OWN_FAULT):
        return said
    if causes:
        return _stopped(facts)
    if said is not None and not succeeded:
        return said
    return _died(facts)


def _stopped(facts: Facts) -> Finished:
    causes = facts.causes
    if Cause.REFUSED in causes:
        message = f"The API refused a record of this attempt, which is a defect: {facts.refusal}"
        return Finished(outcome="failed", reason=Reason.INTERNAL, message=_cut(message))
    if facts.node is not None:
        outcome: Literal["preempted", "failed"] = "preempted" if facts.node.reason in NO_STRIKE else "failed"
        message = _cut(f"Node {facts.node.node}: {facts.node.message}")
        return Finished(outcome=outcome, reason=facts.node.reason, message=message)
    if Cause.HUNG in causes:
        message = (
            f"Training made no progress for {facts.hung_seconds:.0f} seconds and was stopped. "
            "What each of its processes was doing is in the job's log."
        )
        return Finished(outcome="failed", reason=Reason.HUNG, message=message)
    if Cause.TIMEOUT in causes:
        message = (
            f"Training took longer than limits.max_runtime ({facts.max_runtime:g} s), all attempts together. "
            "A retry goes on from the last checkpoint with as much time again; a clone can allow more."
        )
        return Finished(outcome="failed", reason=Reason.TIMEOUT, message=message)
    if Cause.PAUSE in causes:
        return Finished(outcome="paused", reason=Reason.USER, message="Paused on request.")
    if Cause.BLIND in causes:
        message = (
            f"The worker had no answer from the API for {facts.blind_seconds:.0f} seconds and stopped training; "
            "the job goes on from its last checkpoint."
        )
        return Finished(outcome="preempted", reason=Reason.PREEMPTED, message=message)
    if facts.finished is not None and facts.finished.outcome == "preempted":
        return facts.finished
    message = "The worker was told to go; the job goes on from its last checkpoint on another."
    return Finished(outcome="preempted", reason=Reason.PREEMPTED, message=message)


def _died(facts: Facts) -> Finished:
    """The processes ended without a word, or against it."""
    if facts.failure is not None:
        _what, _, output = facts.failure.partition("\n")
        if _OUT_OF_MEMORY.search(output):
            message = (
                "Training ran out of memory: lower training.batch_size, or use more or larger devices. " + facts.failure
            )
            return Finished(outcome="failed", reason=Reason.OOM, message=_cut(message))
        return Finished(outcome="failed", reason=Reason.RANK_FAILED, message=_cut(facts.failure))
    code = facts.exit_code
    if code == 0:
        message = "Training ended without saying how, which is a defect."
        return Finished(outcome="failed", reason=Reason.INTERNAL, message=message)
    how = "was never started" if code is None else f"ended with code {code}" if code > 0 else f"died of signal {-code}"
    return Finished(outcome="failed", reason=Reason.RANK_FAILED, message=f"The launcher of the training {how}.")


def _cut(message: str) -> str:
    return message if len(message) <= _LONGEST_MESSAGE else message[: _LONGEST_MESSAGE - 1] + "…"
