"""Delivers an attempt's records to the API, in order, until all are acknowledged or the attempt is lost."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextvars import copy_context
from threading import Event, Thread

from cpt_core.protocol import Assignment, NodeFailure
from worker.agent import Agent, AppendAnswer, Gap, Lost, NoContact, Refused, Stored, Unavailable
from worker.spool import Spool, SpoolError
from worker.timing import BATCH_BYTES, BATCH_RECORDS, Timing, backoff

log = logging.getLogger(__name__)

_JOIN_SECONDS = 1.0


class Sender:
    """A thread with a loop of appends; its findings are read by the thread that supervises the attempt.

    Each finding is one attribute, and all but `refused` are written by the sender's thread alone.
    """

    def __init__(
        self,
        agent: Agent,
        assignment: Assignment,
        spool: Spool,
        timing: Timing,
        *,
        contact: float,
        on_news: Callable[[], None] = lambda: None,
    ) -> None:
        """`contact`: when the request was sent whose answer was the assignment. `on_news`: told of each answer."""
        self._agent, self._assignment, self._spool, self._timing = agent, assignment, spool, timing
        self._on_news = on_news
        self._carried = False
        self._end: int | None = None
        self._abandoned = False
        self._wake = Event()
        self._failures = 0
        self._next = 0.0
        self._sent = contact
        run = copy_context().run  # its log lines are about what the maker's are
        name = f"sender-{assignment.job_id}-{assignment.attempt}"
        self._thread = Thread(target=run, args=(self._run,), name=name, daemon=True)

        self.contact = contact
        """When the latest append was sent that the API answered: it knew then that this attempt lives."""
        self.answered = False
        """The API has acknowledged an append."""
        self.command = "continue"
        """What the API wants: "continue", "cancel" or "pause"."""
        self.lost: str | None = None
        """Why the attempt no longer holds its job."""
        self.refused: str | None = None
        """Why the API will never take a record. Nothing but heartbeats is sent until `pardon`."""
        self.delivered = False
        """The end record is stored: the attempt is over."""
        self.failed_node: NodeFailure | None = None
        """What ended the processes of another node."""

    def start(self) -> None:
        """Begin, with a heartbeat."""
        self._thread.start()

    def hurry(self) -> None:
        """Records wait that should not wait for the interval."""
        self._wake.set()

    def finish(self, seq: int) -> None:
        """Record `seq` is the attempt's last."""
        self._end = seq
        self.hurry()

    def pardon(self) -> None:
        """The refused records have been discarded."""
        self.refused = None

    def abandon(self) -> None:
        """Stop, whatever still waits. A request under way is not waited for; its answer no longer counts."""
        self._abandoned = True
        self.hurry()
        self._thread.join(_JOIN_SECONDS)

    @property
    def over(self) -> bool:
        """Nothing more will be sent."""
        return self.delivered or self.lost is not None

    def _run(self) -> None:
        try:
            while not self._abandoned and not self.over:
                self._append()
                self._on_news()
                self._rest()
        except Exception:
            if self._abandoned:  # what it worked with has been closed
                return
            log.exception("delivery of records failed")
            self.lost = "the worker's delivery of records failed: a defect"

    def _append(self) -> None:
        self._sent = time.monotonic()
        answer = self._ask()
        if self._abandoned:
            return
        try:
            self._take(answer)
        except SpoolError as error:
            self.lost = f"the API's log and the worker's do not fit together: {error}"
        # The interval paces records, so the first after a silence, such as the attempt's first of all, go at once.
        pause = backoff(self._failures) if self._failures else self._timing.interval if self._carried else 0.0
        self._next = time.monotonic() + min(pause, self._timing.heartbeat)

    def _ask(self) -> AppendAnswer:
        lines: tuple[bytes, ...] = ()
        first = self._spool.acked + 1
        if self.refused is None:
            batch = self._spool.peek(max_records=BATCH_RECORDS, max_bytes=BATCH_BYTES)
            first, lines = batch.first_seq, batch.lines
        self._carried = bool(lines)
        return self._agent.append(self._assignment, first, lines, timeout=self._timing.request)

    def _take(self, answer: AppendAnswer) -> None:
        if not isinstance(answer, NoContact):
            self.contact = self._sent
        failed = isinstance(answer, (NoContact, Unavailable))
        self._failures = self._failures + 1 if failed else 0
        match answer:
            case Stored():
                self.command = answer.command
                self.failed_node = answer.failure
                self.answered = True
                self._acked(answer.acked)
            case Gap():
                self._acked(answer.acked)
            case Lost():
                # The end record may have been stored and only the answer lost: then the log is closed for good reason.
                if self._end is not None and answer.acked == self._end:
                    self._acked(answer.acked)
                else:
                    self.lost = answer.message
            case Refused():
                self.refused = answer.message
            case NoContact() | Unavailable():
                log.warning("%s", answer.message)

    def _acked(self, seq: int) -> None:
        self._spool.ack(seq)
        if self._end is not None and seq >= self._end:
            self.delivered = True

    def _rest(self) -> None:
        """Wait until there is reason for the next append."""
        while not self._abandoned and not self.over:
            now = time.monotonic()
            self._wake.clear()
            if now >= self._next and self._spool.waiting and self.refused is None:
                return
            if self._failures == 0 and self.refused is None and self._is_urgent():
                return
            if now - self._sent >= self._timing.heartbeat:
                return
            self._wake.wait(min(self._timing.interval, max(0.0, self._next - now) or self._timing.interval))

    def _is_urgent(self) -> bool:
        waiting = self._spool.waiting
        return waiting >= BATCH_RECORDS or (waiting > 0 and self._end is not None)


class NodeSender(Sender):
    """The same for a node other than the first. It has no records: it only says that it is there, and how it failed.

    The first node carries out what the API commands, so here a command is no cause to stop.
    """

    _failure: NodeFailure | None = None
    _asked: NodeFailure | None = None

    def fail(self, failure: NodeFailure) -> None:
        """What ended this node's processes; it is told until the API has it."""
        self._failure = failure
        self.finish(0)

    def _ask(self) -> AppendAnswer:
        self._asked = self._failure
        return self._agent.report_node(self._assignment, self._asked, timeout=self._timing.request)

    def _take(self, answer: AppendAnswer) -> None:
        super()._take(answer)
        self.command = "continue"

    def _acked(self, _seq: int) -> None:
        if self._asked is not None:
            self.delivered = True

    def _is_urgent(self) -> bool:
        return self._failure is not None
