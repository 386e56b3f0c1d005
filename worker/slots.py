"""Work for the slots: claim until nothing waits, one job at a time in each."""

from __future__ import annotations

import contextlib
import logging
import queue
import time
import uuid
from collections.abc import Iterator, Sequence

from pydantic import SecretStr

from cpt_core import tracing
from cpt_core.events import Finished, dump
from cpt_core.lifecycle import Reason
from cpt_core.logs import about
from cpt_core.protocol import DOORBELL, Assignment, ClaimRequest, NodeFailure
from worker.agent import Agent, Granted, Nothing, Refused
from worker.attempt import Attempt
from worker.cache import Cache
from worker.devices import Slot
from worker.home import Home
from worker.launchers import ForkServer
from worker.meeting import endpoint
from worker.settings import WorkerSettings
from worker.stop import Stop
from worker.telemetry import Telemetry
from worker.timing import backoff

log = logging.getLogger(__name__)

_POLL_SECONDS = 0.2
_REST_SECONDS = 10.0
_GIVE_BACK_SECONDS = 10.0


class Slots:
    """The slots of one worker. Thread-safe: each thread that works holds a slot of its own."""

    def __init__(
        self,
        settings: WorkerSettings,
        slots: Sequence[Slot],
        home: Home,
        stop: Stop,
        forks: ForkServer | None,
        telemetry: Telemetry,
    ) -> None:
        """`forks` has the launchers ready; None: each is started as a program."""
        self._settings, self._home, self._stop, self._forks = settings, home, stop, forks
        self._telemetry = telemetry
        self._cache = Cache(settings.state_dir / "cache", settings.cache_limit_bytes)
        self._agent = Agent(settings.api_url, settings.agent_token)
        self._free: queue.SimpleQueue[Slot] = queue.SimpleQueue()
        for slot in slots:
            self._free.put(slot)

    def work(self, traceparent: str | None = None) -> None:
        """Wait for a free slot, then run jobs in it until no queue has one for it, or the worker shall go.

        The calling thread must live on while it runs: the training dies with it.

        Args:
            traceparent: the trace of the doorbell that was heard; of that belongs the wait and the first claim alone.
        """
        heard = time.time_ns()
        with self._slot() as slot:
            if slot is None:
                return
            with tracing.span(f"process {DOORBELL}", kind="consumer", parent=traceparent, since=heard):
                claimed = self._claim_any(slot)
            while claimed is not None:
                self._attempt(slot, *claimed)
                claimed = self._claim_any(slot)

    def _attempt(self, slot: Slot, granted: Granted, claimed_at: float) -> None:
        assignment = granted.assignment
        job, number = assignment.job_id, assignment.attempt
        with (
            about(job=job, attempt=number),
            tracing.span("attempt", parent=granted.traceparent, job=job, attempt=number),
        ):
            end = self._run(slot, assignment, claimed_at)
            if end is None:
                tracing.note(error="its end is not stored")
            else:
                failure = end.message if end.outcome == "failed" else None
                tracing.note(error=failure, outcome=end.outcome, reason=end.reason)

    def _run(self, slot: Slot, assignment: Assignment, claimed_at: float) -> Finished | None:
        """Run an attempt. The answer is its end as the API has stored it."""
        try:
            mark = f"{assignment.job_id}-{assignment.attempt}"
            if assignment.gang is not None:  # another node may be on this machine, and is not to be killed with this
                mark += f"-{assignment.gang.node}"
            folder = self._home.attempt(mark)
            attempt = Attempt(
                assignment,
                claimed_at=claimed_at,
                slot=slot,
                settings=self._settings,
                folder=folder,
                stop=self._stop,
                forks=self._forks,
                telemetry=self._telemetry,
                cache=self._cache,
            )
        except OSError as error:
            log.error("no attempt can be run: %s", error)  # noqa: TRY400 - a full disk needs no traceback
            self._give_back(assignment, error)
            self._stop.wait(_REST_SECONDS)
            return None
        return attempt.run()

    def _give_back(self, assignment: Assignment, error: OSError) -> None:
        """Tell the API that this worker cannot run the job, which is not the job's fault."""
        message = f"The worker cannot run the job, which waits for another: {error}"
        agent = Agent(self._settings.api_url, SecretStr(assignment.token))
        with contextlib.closing(agent):
            if assignment.gang is not None and assignment.gang.node:
                failure = NodeFailure(node=assignment.gang.node, reason=Reason.PREEMPTED, message=message[:8192])
                agent.report_node(assignment, failure, timeout=_GIVE_BACK_SECONDS)
                return
            end = Finished(outcome="preempted", reason=Reason.PREEMPTED, message=message)
            agent.append(assignment, 1, (dump(end).encode(),), timeout=_GIVE_BACK_SECONDS)

    @contextlib.contextmanager
    def _slot(self) -> Iterator[Slot | None]:
        """A free slot; None when the worker shall go."""
        slot = None
        while slot is None and not self._stop:
            with contextlib.suppress(queue.Empty):
                slot = self._free.get(timeout=_POLL_SECONDS)
        try:
            yield slot
        finally:
            if slot is not None:
                self._free.put(slot)

    def _claim_any(self, slot: Slot) -> tuple[Granted, float] | None:
        """A job and when it was asked for: from the first queue that has one."""
        for name in self._settings.queues:
            claimed = self._claim(slot, name)
            if claimed is not None:
                return claimed
        return None

    def _claim(self, slot: Slot, queue_name: str) -> tuple[Granted, float] | None:
        request = ClaimRequest(
            claim_id=uuid.uuid4().hex,
            worker=self._settings.name,
            queue=queue_name,
            device=slot.device,
            devices=slot.devices,
            labels=self._settings.labels,
            endpoint=endpoint(self._settings),
        )
        failures = 0
        while not self._stop:
            asked = time.monotonic()
            answer = self._agent.claim(request)
            if isinstance(answer, Granted):
                with about(job=answer.assignment.job_id, attempt=answer.assignment.attempt):
                    log.info("claimed")
                return answer, asked
            if isinstance(answer, Nothing):
                return None
            if isinstance(answer, Refused):
                log.error("claims are refused: %s", answer.message)
                return None
            # The claim may have been granted and only the answer lost, so the same claim is made again.
            failures += 1
            log.warning("claim: %s", answer.message)
            self._stop.wait(backoff(failures))
        return None
