"""One rank's attempt at a run, from meeting the others to the last event."""

from __future__ import annotations

import signal
import traceback
from types import FrameType

from cpt_core import tracing
from cpt_core.run import Run
from cpt_core.train import ranks
from cpt_core.train.failure import tell
from cpt_core.train.recorder import Emit
from cpt_core.train.trainer import Trainer


class StopRequest:
    """SIGTERM, once listened to, asks for a stop after the current step instead of ending the process."""

    def __init__(self) -> None:
        self.made = False
        """Whether the signal came."""

    def listen(self) -> None:
        """Take SIGTERM from now on. Call it from the main thread."""
        signal.signal(signal.SIGTERM, self._make)

    def _make(self, _signum: int, _frame: FrameType | None) -> None:
        self.made = True


def attempt(run: Run, emit: Emit, stop: StopRequest) -> int:
    """Train as the rank that torchrun's environment says, or alone. Returns the process's exit code.

    Args:
        run: what to train.
        emit: takes the events; ranks other than 0 should ignore them.
        stop: listens from when training can be stopped with a checkpoint; before, SIGTERM just ends the process.
    """
    group = None
    try:
        resources = run.spec.resources
        if resources.device != "cpu":
            ranks.settle_arithmetic(tf32=resources.tf32, deterministic=resources.deterministic)
        group = ranks.join(resources.device)
        with tracing.span("build"):
            trainer = Trainer(run, group, emit, lambda: stop.made)
        stop.listen()
        group.sum([0])  # no rank begins before all listen, else one could stop and another die
        with tracing.span("training"):
            end = trainer.train()
        emit(end)
    except Exception as error:
        traceback.print_exc()
        return tell(error, emit, group)
    group.leave()
    return 0
