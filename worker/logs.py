"""Delivers what the ranks and their launcher print to the API, as it comes and to the last byte.

The output goes to files, which survive the rank: what it wrote before it was killed is delivered too. A piece is
numbered by its place in the output, so the API stores each byte once however often it is sent. See `output` for what
the files take on the disk.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextvars import copy_context
from pathlib import Path
from threading import Event, Thread

from cpt_core.launch import output_file
from cpt_core.protocol import LAUNCHER, Assignment
from worker.agent import Agent, LogStored, Refused
from worker.output import Output
from worker.timing import Timing, backoff

log = logging.getLogger(__name__)

_INTERVAL_SECONDS = 0.5
_JOIN_SECONDS = 1.0


class LogSender:
    """A thread that sends what the files have grown by."""

    def __init__(
        self,
        agent: Agent,
        assignment: Assignment,
        folder: Path,
        launcher: Path,
        timing: Timing,
        limit_bytes: int,
        on_done: Callable[[], None] = lambda: None,
    ) -> None:
        """`folder` has the ranks' output, `launcher` is the launcher's; `limit_bytes` of each may wait.

        `on_done` is told once everything is stored, or will never be.
        """
        self._agent, self._assignment, self._timing = agent, assignment, timing
        self._on_done = on_done
        files = {LAUNCHER: launcher}
        devices = assignment.spec.resources.devices
        first = assignment.gang.node * devices if assignment.gang else 0
        if first:  # the launcher whose output is told is the first node's
            files = {}
        files |= {rank: output_file(folder, rank) for rank in range(first, first + devices)}
        self._outputs = {rank: Output(path, limit_bytes) for rank, path in files.items()}
        self._refused: set[int] = set()
        self._wake = Event()
        self._last = self._closed = False
        name = f"logs-{assignment.job_id}-{assignment.attempt}"
        run = copy_context().run  # its log lines are about what the maker's are
        self._thread = Thread(target=run, args=(self._run,), name=name, daemon=True)

        self.done = False
        """Everything is stored, or will never be."""

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def finish(self) -> None:
        """The files grow no more: deliver the rest, see `done`."""
        self._last = True
        self._wake.set()

    def bound(self) -> None:
        """Keep what the files take on the disk within the limit; to be called now and then."""
        for output in self._outputs.values():
            output.bound()

    def close(self) -> None:
        """Stop, whatever is still to be sent."""
        self._closed = True
        self._wake.set()
        self._thread.join(_JOIN_SECONDS)

    def _run(self) -> None:
        failures = 0
        try:
            while not self._closed:
                last = self._last  # read before the files are
                delivered = all(self._deliver(rank) for rank in self._outputs)
                if last and delivered:
                    break
                failures = 0 if delivered else failures + 1
                self._wake.wait(backoff(failures) if failures else _INTERVAL_SECONDS)
                self._wake.clear()
        except Exception:
            if not self._closed:
                log.exception("delivery of logs failed")
        self.done = True
        self._on_done()

    def _deliver(self, rank: int) -> bool:
        """Send what is new of one file; False if the API could not take it now."""
        output = self._outputs[rank]
        while not self._closed and rank not in self._refused and (piece := output.piece()):
            answer = self._agent.put_log(self._assignment, rank, output.offset, piece, timeout=self._timing.request)
            if isinstance(answer, Refused):
                log.warning("output of rank %d is not stored: %s", rank, answer.message)
                self._refused.add(rank)
            elif isinstance(answer, LogStored):
                output.stored(answer.size)
            else:
                return False
        return True
