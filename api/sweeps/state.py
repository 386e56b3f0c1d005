"""The state of a sweep out of its members'. Pure."""

from __future__ import annotations

from api.sweeps.schemas import Counts, SweepState
from cpt_core.lifecycle import ACTIVE, FINAL, State


def state_of(counts: Counts) -> SweepState:
    """Where a sweep with such members is."""
    ended, active = counts.of(*FINAL), counts.of(*ACTIVE)
    if not counts.of(*set(State) - FINAL):
        if counts.failed:
            return SweepState.FAILED
        return SweepState.CANCELLED if counts.cancelled else SweepState.SUCCEEDED
    if not active and not counts.queued:
        return SweepState.PAUSED
    return SweepState.RUNNING if active or ended or counts.paused else SweepState.QUEUED


def is_final(counts: Counts) -> bool:
    """Whether all members have ended."""
    return not counts.of(*set(State) - FINAL)
