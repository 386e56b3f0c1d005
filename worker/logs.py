"""Delivers what the ranks and their launcher print to the API, as it comes and to the last byte.

The output goes to files, which survive the rank: what it wrote before it was killed is delivered too. A piece is
numbered by its place in the output, so the API stores each byte once however often it is sent.
"""

from __future__ import annotations

import logging
from contextvars import copy_context
from pathlib import Path
from threading import Event, Thread

from cpt_core.launch import output_file
from cpt_core.protocol import LAUNCHER, MAX_LOG_CHUNK, Assignment
from worker.agent import Agent, LogStored, Refused
from worker.timing import Timing, backoff

log = logging.getLogger(__name__)

_INTERVAL_SECONDS = 0.5
_JOIN_SECONDS = 1.0


class LogSender:
    """A thread that sends what the files have grown by."""

    def __init__(self, agent: Agent, assignment: Assignment, folder: Path, launcher: Path, timing: Timing) -> None:
        """`folder` has the ranks' output, `launcher` is the launcher's."""
        self._agent, self._assignment, self._timing = agent, assignment, timing
        ranks = range(assignment.spec.resources.devices)
        self._files = {LAUNCHER: launcher} | {rank: output_file(folder, rank) for rank in ranks}
        self._sent = dict.fromkeys(self._files, 0)
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
                delivered = all(self._deliver(rank) for rank in self._files)
                if last and delivered:
                    break
                failures = 0 if delivered else failures + 1
                self._wake.wait(backoff(failures) if failures else _INTERVAL_SECONDS)
                self._wake.clear()
        except Exception:
            if not self._closed:
                log.exception("delivery of logs failed")
        self.done = True

    def _deliver(self, rank: int) -> bool:
        """Send what is new of one file; False if the API could not take it now."""
        while not self._closed and (piece := self._piece(rank)):
            offset = self._sent[rank]
            answer = self._agent.put_log(self._assignment, rank, offset, piece, timeout=self._timing.request)
            if isinstance(answer, Refused):
                log.warning("output of rank %d is not stored: %s", rank, answer.message)
                self._files[rank] = Path("/dev/null")
                return True
            if not isinstance(answer, LogStored):
                return False
            self._sent[rank] = answer.size
        return True

    def _piece(self, rank: int) -> bytes:
        try:
            with self._files[rank].open("rb") as file:
                file.seek(self._sent[rank])
                return file.read(MAX_LOG_CHUNK)
        except FileNotFoundError:  # it has not started
            return b""
