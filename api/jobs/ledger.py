"""The protocol's decisions, pure: what a claim, an append, a silent lease or a user's wish does to a job.

The repository locks a job's row, loads its `Ledger`, lets one of these functions decide, and stores the answer in the
same transaction. tests/protocol explores every interleaving of these very functions, and shows that each of the three
guards (`is_stale`, `is_gap`, `unseen`) is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from api.jobs.schemas import StateChanged
from cpt_core.events import AnyEvent, Checkpoint, Finished, Started, StepDone
from cpt_core.lifecycle import ACTIVE, FATAL, FINAL, MAX_STRIKES, NO_STRIKE, TRANSITIONS, Action, Reason, State


@dataclass(frozen=True, slots=True)
class Ledger:
    """What the protocol needs to know of a job and its latest attempt."""

    state: State = State.QUEUED
    reason: Reason | None = None
    message: str | None = None
    attempt: int = 0
    """Number of the latest attempt; 0 before the first."""
    acked: int = 0
    """Records stored of that attempt."""
    progressed: bool = False
    """That attempt has registered a checkpoint."""
    step: int = 0
    """Steps that attempt has completed, by its own account."""
    steps: int | None = None
    """Steps the job has in all, as its attempt says; null: it has not started."""
    strikes: int = 0
    """Attempts in a row that failed without a new checkpoint."""
    cancel: bool = False
    """Somebody asked for the end while a worker held the job."""
    pause: bool = False
    """Somebody asked for a pause while a worker held the job."""


@dataclass(frozen=True, slots=True)
class Appended:
    """The records are in order. `entries` are to be stored: those not seen before, and the state changes they make."""

    ledger: Ledger
    entries: Sequence[AnyEvent | StateChanged]


@dataclass(frozen=True, slots=True)
class Refused:
    """The records may not be stored. `code` is part of the API's contract."""

    code: Literal["stale_attempt", "sequence_gap", "invalid_record"]
    message: str


class IllegalTransitionError(Exception):
    """The job's state does not allow what was asked; the message says why."""


def move(ledger: Ledger, state: State, reason: Reason | None = None, message: str | None = None) -> Ledger:
    """The ledger in another state.

    Raises:
        IllegalTransitionError: the table has no such transition.
    """
    if state not in TRANSITIONS[ledger.state]:
        raise IllegalTransitionError(f"a {ledger.state} job cannot become {state}")
    return replace(ledger, state=state, reason=reason, message=message)


def claim(ledger: Ledger) -> Ledger:
    """A worker takes the job: a new attempt begins."""
    return replace(
        move(ledger, State.STARTING), attempt=ledger.attempt + 1, acked=0, progressed=False, step=0, steps=None
    )


def is_stale(ledger: Ledger, attempt: int) -> bool:
    """The fence: only the latest attempt of an active job may write."""
    return attempt != ledger.attempt or ledger.state not in ACTIVE


def stale(attempt: int) -> str:
    """What to tell the workers of an attempt that is behind the fence."""
    return f"attempt {attempt} no longer holds this job: stop its processes"


def is_gap(ledger: Ledger, first_seq: int) -> bool:
    """The order: a record is stored only after all before it, so a checkpoint proves that they are durable."""
    return first_seq > ledger.acked + 1


def unseen(ledger: Ledger, first_seq: int, records: Sequence[AnyEvent]) -> Sequence[AnyEvent]:
    """The de-duplication: of records numbered from `first_seq` on, those that are not stored yet."""
    return records[ledger.acked + 1 - first_seq :]


def append(ledger: Ledger, attempt: int, first_seq: int, records: Sequence[AnyEvent]) -> Appended | Refused:
    """Records of an attempt arrive, perhaps late, again, or from an attempt that has lost its job."""
    if is_stale(ledger, attempt):
        return Refused("stale_attempt", stale(attempt))
    if is_gap(ledger, first_seq):
        return Refused("sequence_gap", f"record {ledger.acked + 1} is missing before {first_seq}: send it first")
    fresh = unseen(ledger, first_seq, records)
    entries: list[AnyEvent | StateChanged] = []
    for record in fresh:
        before = ledger
        try:
            ledger = _record(ledger, record)
        except IllegalTransitionError as error:
            return Refused("invalid_record", str(error))
        entries += [record, *changes(before, ledger)]
    return Appended(replace(ledger, acked=ledger.acked + len(fresh)), entries)


def _record(ledger: Ledger, record: AnyEvent) -> Ledger:
    if ledger.state not in ACTIVE:
        raise IllegalTransitionError("a finished record must be the last of its attempt")
    match record:
        case Started():
            return replace(move(ledger, State.RUNNING), step=record.resume_step, steps=record.steps)
        case StepDone():
            if record.step < ledger.step:
                raise IllegalTransitionError(f"step {record.step} was reported before; expected {ledger.step} or later")
            if ledger.steps is not None and record.step >= ledger.steps:
                raise IllegalTransitionError(f"step {record.step} is none of a job with {ledger.steps} steps, from 0")
            return replace(ledger, step=record.step + 1)
        case Checkpoint():
            return replace(ledger, progressed=True)
        case Finished():
            return finish(ledger, record)
        case _:
            return ledger


def changes(before: Ledger, after: Ledger) -> list[StateChanged]:
    """What the log says of the way from one ledger to the other: one entry if the state has changed, else none."""
    if before.state is after.state:
        return []
    return [StateChanged(state=after.state, previous=before.state, reason=after.reason, message=after.message)]


def finish(ledger: Ledger, end: Finished) -> Ledger:
    """The attempt ended, by its own account."""
    reason = Reason(end.reason) if end.reason in set(Reason) else Reason.INTERNAL
    match end.outcome:
        case "succeeded":
            return move(ledger, State.SUCCEEDED, reason, end.message)
        case "cancelled":
            return move(ledger, State.CANCELLED, reason, end.message)
        case "paused" if not ledger.pause:
            return _released(ledger, reason, "resumed on request while it was being paused")
        case _:
            return _released(ledger, reason, end.message)


def expire(ledger: Ledger, who: str = "the worker") -> Ledger:
    """The worker, or one of several, has been silent for longer than the lease."""
    return _released(ledger, Reason.WORKER_LOST, f"{who} fell silent for longer than its lease; the attempt was ended")


def release(ledger: Ledger, message: str) -> Ledger:
    """The attempt could not begin, which says nothing about the job."""
    return _released(ledger, Reason.PREEMPTED, message)


def _released(ledger: Ledger, reason: Reason, message: str) -> Ledger:
    """Where a job goes whose attempt ended before the last step."""
    strikes = ledger.strikes if reason in NO_STRIKE else 0 if ledger.progressed else ledger.strikes + 1
    ledger = replace(ledger, strikes=strikes)
    if ledger.cancel:
        return move(ledger, State.CANCELLED, Reason.USER, "cancelled on request")
    if reason in FATAL:
        return move(ledger, State.FAILED, reason, message)
    if strikes >= MAX_STRIKES:
        told = f"{message} (given up: {strikes} attempts in a row failed without a new checkpoint)"
        return move(ledger, State.FAILED, reason, told)
    if ledger.pause:
        return replace(move(ledger, State.PAUSED, Reason.USER, "paused on request"), pause=False)
    return move(ledger, State.QUEUED, reason, message)


def cancel(ledger: Ledger) -> Ledger:
    """Somebody wants the job to end. While a worker holds it this is a wish that the worker carries out.

    Raises:
        IllegalTransitionError: the job has already succeeded or failed.
    """
    if ledger.state is State.CANCELLED:
        return ledger
    if ledger.state in FINAL:
        raise IllegalTransitionError(f"the job has already {ledger.state}; there is nothing to cancel")
    if ledger.state in ACTIVE:
        return replace(ledger, cancel=True)
    return move(ledger, State.CANCELLED, Reason.USER, "cancelled on request while no worker had it")


def pause(ledger: Ledger) -> Ledger:
    """Somebody wants the job to rest. While a worker holds it this is a wish: it saves a checkpoint and lets go.

    Raises:
        IllegalTransitionError: the job has ended, or is being cancelled.
    """
    if ledger.state in FINAL:
        raise IllegalTransitionError(f"{_has_ended(ledger)}; there is nothing to pause")
    if ledger.cancel:
        raise IllegalTransitionError("the job is being cancelled; it cannot be paused any more")
    if ledger.state is State.PAUSED:
        return ledger
    if ledger.state in ACTIVE:
        return replace(ledger, pause=True)
    return move(ledger, State.PAUSED, Reason.USER, "paused on request before a worker had it")


def resume(ledger: Ledger) -> Ledger:
    """Somebody wants the job to go on. One that is not paused does so anyway; a pause under way is taken back.

    The worker may have been told of the pause already. Then its attempt ends, and the job is queued instead of paused.

    Raises:
        IllegalTransitionError: the job has ended.
    """
    if ledger.state in FINAL:
        raise IllegalTransitionError(f"{_has_ended(ledger)}; retry it, if it failed, or clone it")
    if ledger.state is State.PAUSED:
        return move(ledger, State.QUEUED, Reason.USER, "resumed on request")
    return replace(ledger, pause=False)


def time_out(ledger: Ledger, message: str) -> Ledger:
    """The job has waited in the queue for longer than its spec allows.

    Raises:
        IllegalTransitionError: it does not wait there any more.
    """
    if ledger.state is not State.QUEUED:
        raise IllegalTransitionError(f"the job is {ledger.state} and does not wait")
    return move(ledger, State.FAILED, Reason.TIMEOUT, message)


def check_final(ledger: Ledger, purpose: str) -> None:
    """Let only a job pass that has ended.

    Raises:
        IllegalTransitionError: it has not; `purpose` says what it was to be done for.
    """
    if ledger.state not in FINAL:
        raise IllegalTransitionError(f"the job is {ledger.state}; cancel it, or wait for its end, {purpose}")


def check_retry(ledger: Ledger) -> None:
    """Let only a job pass that another one may try again.

    Raises:
        IllegalTransitionError: it has not ended yet, or has succeeded.
    """
    if ledger.state is State.SUCCEEDED:
        raise IllegalTransitionError("the job has succeeded; clone it to train its spec again")
    check_final(ledger, "before it is retried")


def actions(ledger: Ledger, *, archived: bool) -> list[Action]:
    """What a client can do with the job now, and would change something by it."""
    if ledger.state in FINAL:
        retry = [] if ledger.state is State.SUCCEEDED else [Action.RETRY]
        return [*retry, Action.CLONE, Action.UNARCHIVE if archived else Action.ARCHIVE, Action.DELETE]
    if ledger.cancel:
        return [Action.CLONE]
    rests = ledger.state is State.PAUSED or ledger.pause
    return [Action.RESUME if rests else Action.PAUSE, Action.CANCEL, Action.CLONE]


def _has_ended(ledger: Ledger) -> str:
    return f"the job has {'been cancelled' if ledger.state is State.CANCELLED else f'already {ledger.state}'}"
