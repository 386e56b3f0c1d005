"""One attempt at one job: from the assignment to its last record.

The supervising thread starts the processes, reads their events into the spool and stops them when there is a cause; a
second thread (`sender`) brings the records to the API. The attempt ends only when no process is left.
"""

from __future__ import annotations

import logging
import math
import shutil
import time
from contextlib import ExitStack
from pathlib import Path
from threading import Event

from pydantic import SecretStr

from cpt_core import launch, tracing
from cpt_core.events import AnyEvent, Finished, Started, StepDone
from cpt_core.lifecycle import Reason
from cpt_core.process import MARK
from cpt_core.protocol import Assignment, NodeFailure
from cpt_core.run import Run
from cpt_core.storage import StorageError, best_folder, checkpoint_folder, open_storage
from cpt_core.uploads import root_of
from worker.agent import Agent
from worker.cache import Cache
from worker.causes import Cause, measure
from worker.devices import Slot
from worker.ending import Facts, end_record
from worker.fifo import Fifo
from worker.launchers import ForkServer, Spawned
from worker.logs import LogSender
from worker.recorder import Recorder
from worker.sender import NodeSender, Sender
from worker.settings import WorkerSettings, environment_of_training
from worker.spool import Spool
from worker.stacks import stacks
from worker.stop import Stop
from worker.telemetry import Telemetry
from worker.timing import BATCH_RECORDS, timing
from worker.tree import Tree
from worker.watchdog import Watchdog

log = logging.getLogger(__name__)

_TICK_SECONDS = 0.05
_LAST_WORDS_SECONDS = 1.0
_NEWS_SECONDS = 5.0


class Attempt:
    """One attempt. It is run once, by a thread that lives until the end: the training dies with that thread."""

    def __init__(
        self,
        assignment: Assignment,
        *,
        claimed_at: float,
        slot: Slot,
        settings: WorkerSettings,
        folder: Path,
        stop: Stop,
        forks: ForkServer | None,
        telemetry: Telemetry,
        cache: Cache,
    ) -> None:
        """`folder` is new, empty and this attempt's alone; its name is the mark of the attempt's processes.

        Raises:
            OSError: the folder cannot be written.
        """
        self._assignment, self._slot, self._settings = assignment, slot, settings
        self._node = assignment.gang.node if assignment.gang else 0
        self._folder, self._stop, self._forks, self._telemetry = folder, stop, forks, telemetry
        self._cache, self._held = cache, ExitStack()
        self._timing = timing(assignment.lease_seconds, interval=settings.append_interval, blind=settings.blind_seconds)
        self._run_file = folder / "run.json"
        self._run_file.write_text(self._run_description().model_dump_json(), encoding="utf-8")
        self._spool = Spool(folder / "spool", limit_bytes=settings.spool_limit_bytes)
        self._fifo = Fifo(folder / "events")
        self._watchdog = Watchdog(
            claimed_at,
            floor=settings.progress_seconds,
            steps=settings.progress_steps,
            startup=math.inf if self._node else settings.startup_seconds,  # the first node has the events
            no_progress=assignment.spec.limits.no_progress,
        )
        self._deadline: float | None = None
        if self._time_left <= 0:
            self._deadline = claimed_at
        self._recorder = Recorder(
            self._fifo,
            self._spool,
            on_event=self._saw,
        )
        self._agent = Agent(settings.api_url, SecretStr(assignment.token))
        self._news = Event()
        self._logs = LogSender(
            self._agent,
            assignment,
            folder / "logs",
            folder / "launcher.log",
            self._timing,
            settings.log_limit_bytes,
            on_done=self._news.set,
        )
        self._sender = (NodeSender if self._node else Sender)(
            self._agent,
            assignment,
            self._spool,
            self._timing,
            contact=claimed_at,
            on_news=self._news.set,
        )
        self._tree: Tree | None = None
        self._causes: set[Cause] = set()
        self._told: float | None = None
        self._killed = False
        self._exit_code: int | None = None

    def run(self) -> Finished | None:
        """Carry the attempt out. The answer is the end record that the API has stored; None: it has not."""
        self._telemetry.began(self._spool)
        self._sender.start()
        self._logs.start()
        try:
            self._await_first_answer()
            if not self._causes:
                self._start()
            self._supervise()
            self._drain()
            self._send_logs()
            self._await_news()
            self._clear_storage()
            end = self._conclude()
        except Exception as error:
            log.exception("the attempt failed in the worker")
            self._destroy()
            end = Finished(
                outcome="failed",
                reason=Reason.INTERNAL,
                message=f"The worker could not carry the attempt out: {error!r}"[:8000],
            )
        try:
            return self._deliver(end)
        finally:
            self._close()

    @property
    def _time_left(self) -> float:
        """Seconds of training that the spec allowed when the attempt began."""
        longest = self._assignment.spec.limits.max_runtime
        return math.inf if longest is None else longest - self._assignment.running_seconds

    def _saw(self, event: AnyEvent) -> None:
        now = time.monotonic()
        self._watchdog.saw(event, now)
        self._telemetry.saw(event)
        if isinstance(event, Started):
            self._deadline = now + self._time_left
        if not isinstance(event, StepDone):  # steps come by the thousand, and can wait for each other
            self._sender.hurry()

    def _run_description(self) -> Run:
        assignment, upload, cache = self._assignment, self._assignment.upload, self._cache.folder
        return Run(
            spec=assignment.spec,
            events=self._folder / "events",
            storage=self._settings.storage_url,
            checkpoints=checkpoint_folder(assignment.job_id, assignment.attempt),
            best=best_folder(assignment.job_id),
            data_root=root_of(cache, upload) if upload else self._settings.data_root,
            upload=upload,
            cache=cache,
            model_limits=assignment.model_limits,
            resume=assignment.resume,
            gang=assignment.gang,
            threads=self._slot.threads(assignment.spec.resources.devices),
            grid_gco2e_per_kwh=self._settings.grid_gco2e_per_kwh,
        )

    def _await_first_answer(self) -> None:
        """Start nothing before the API has confirmed the attempt: the claim may be an old one, or cancelled already."""
        while not self._sender.answered and not self._causes:
            self._rest()
            self._look()

    def _start(self) -> None:
        self._held.enter_context(self._cache.use(self._assignment.upload))
        devices = self._assignment.spec.resources.devices
        mark, run_id = self._folder.name, f"{self._assignment.job_id}-{self._assignment.attempt}"
        environment = environment_of_training() | self._slot.environment(devices) | tracing.environment() | {MARK: mark}
        logs, output = self._folder / "logs", self._folder / "launcher.log"
        forked = self._forks and self._forks.launch(
            self._run_file, nproc=devices, run_id=run_id, log_dir=logs, environment=environment, output=output
        )
        command = launch.command(self._run_file, nproc=devices, run_id=run_id, log_dir=logs)
        launcher = forked or Spawned(command, environment=environment, folder=self._folder, output=output)
        self._tree = Tree(launcher, mark)

    def _supervise(self) -> None:
        """Until no process is left."""
        while self._tree is not None and not self._tree.gone:
            self._recorder.take()
            self._logs.bound()
            if self._spool.waiting >= BATCH_RECORDS:
                self._sender.hurry()
            self._look()
            self._act(self._tree)
            self._recorder.wait(_TICK_SECONDS, self._tree.ending)

    def _rest(self) -> None:
        """Wait for an answer of the API, and not for long."""
        self._news.wait(_TICK_SECONDS)
        self._news.clear()

    def _look(self) -> None:
        """Find causes to stop. Once found a cause stays."""
        now, sender, causes = time.monotonic(), self._sender, set[Cause]()
        if sender.lost is not None:
            causes.add(Cause.LOST)
        if sender.refused is not None:
            causes.add(Cause.REFUSED)
        if sender.command == "cancel":
            causes.add(Cause.CANCEL)
        if sender.command == "pause":
            causes.add(Cause.PAUSE)
        if sender.failed_node is not None:
            causes.add(Cause.NODE)
        if self._stop.asked:
            causes.add(Cause.GO)
        if self._stop.asked > 1:
            causes.add(Cause.GO_NOW)
        if now - sender.contact > self._timing.blind:
            causes.add(Cause.BLIND)
        if self._watchdog.is_hung(now, reading=self._tree is not None and self._recorder.reading):
            causes.add(Cause.HUNG)
        if self._deadline is not None and now > self._deadline:
            causes.add(Cause.TIMEOUT)
        for cause in sorted(causes - self._causes, key=lambda cause: cause.name):
            log.info("to be stopped: %s", cause.name.lower().replace("_", " "))
        self._causes |= causes

    def _act(self, tree: Tree) -> None:
        now = time.monotonic()
        if tree.launcher_ended:  # its ranks are of no use without it
            tree.kill()
            return
        due = measure(
            self._causes, now=now, told=self._told, going=self._stop.first, grace=self._settings.grace_seconds
        )
        if due == "term":
            tree.terminate()
            self._told = now
        elif due == "kill":
            if Cause.HUNG in self._causes and not self._killed:
                for record in stacks(tree.ranks(), self._folder / "logs"):
                    self._recorder.put(record)
            tree.kill()
            self._killed = True

    def _drain(self) -> None:
        """Take what rank 0 wrote last. Waits while the spool is full, unless nobody will ever empty it."""
        while self._recorder.take() or not self._recorder.reading:
            if self._sender.over or self._sender.refused is not None or self._time_is_up():
                return
            self._recorder.wait(_TICK_SECONDS)

    def _send_logs(self) -> None:
        """Wait until all output of the ranks is stored: the end, when it is said, comes after it."""
        self._logs.finish()
        while not self._logs.done and not self._sender.over and not self._time_is_up():
            self._rest()
            self._look()

    def _await_news(self) -> None:
        """The ranks here have only lost others: wait for word of what ended those."""
        until = time.monotonic() + _NEWS_SECONDS
        while self._assignment.gang and not self._node and launch.lost_a_peer(self._folder / "logs"):
            if self._causes or self._recorder.finished or self._sender.over or time.monotonic() > until:
                return
            time.sleep(_TICK_SECONDS)
            self._look()

    def _clear_storage(self) -> None:
        """Delete checkpoints that this attempt, or an earlier one of a dead worker, has left half written."""
        if self._node:  # rank 0, on the first node, writes them
            return
        try:
            storage = open_storage(self._settings.storage_url)
            for attempt in range(1, self._assignment.attempt + 1):
                storage.clear(checkpoint_folder(self._assignment.job_id, attempt))
        except StorageError as error:
            log.warning("%s", error)

    def _conclude(self) -> Finished:
        self._exit_code = None if self._tree is None else self._tree.reap()
        return end_record(
            Facts(
                causes=frozenset(self._causes),
                finished=self._recorder.finished,
                exit_code=self._exit_code,
                failure=None if self._killed else launch.failure(self._folder / "logs"),
                refusal=self._sender.refused or "",
                hung_seconds=self._watchdog.limit,
                max_runtime=self._assignment.spec.limits.max_runtime or 0.0,
                blind_seconds=self._timing.blind,
                node=self._sender.failed_node,
            )
        )

    def _deliver(self, end: Finished) -> Finished | None:
        """Wait until the end record is stored, or never will be."""
        sender = self._sender
        if isinstance(sender, NodeSender):
            return self._tell_first_node(sender, end)
        put = False
        while not sender.over and not self._time_is_up():
            if sender.refused is not None:
                if Cause.REFUSED in self._causes and put:
                    break  # the API refuses the end that tells of the refusal
                self._causes.add(Cause.REFUSED)
                end = end_record(Facts(causes=frozenset(self._causes), refusal=sender.refused))
                self._spool.discard()
                sender.pardon()
                put = False
            if not put and (put := self._recorder.put(end)):
                sender.finish(self._spool.last)
            self._rest()
        if sender.delivered:
            log.info("ended: %s (%s)", end.outcome, end.reason)
            return end
        log.warning("the end is not stored: %s", sender.lost or sender.refused or "no time left")
        return None

    def _tell_first_node(self, sender: NodeSender, end: Finished) -> Finished:
        """Report an end that is this node's own, on which the first node ends the attempt; otherwise just go."""
        if sender.over or self._exit_code == 0 or launch.lost_a_peer(self._folder / "logs"):
            return end
        sender.fail(NodeFailure(node=self._node, reason=Reason(end.reason), message=end.message or end.reason))
        while not sender.over and sender.refused is None and not self._time_is_up():
            self._rest()
        return end

    def _time_is_up(self) -> bool:
        """The worker must go now."""
        if not self._stop:
            return False
        if self._stop.asked > 1:
            return time.monotonic() > self._stop.latest + _LAST_WORDS_SECONDS
        return time.monotonic() > self._stop.first + self._settings.grace_seconds

    def _destroy(self) -> None:
        while self._tree is not None and not self._tree.gone:
            self._tree.kill()

    def _close(self) -> None:
        self._destroy()
        if self._tree is not None:
            self._tree.close()
        self._held.close()
        self._sender.abandon()
        self._logs.close()
        self._agent.close()
        self._fifo.close()
        self._telemetry.ended(self._spool)
        self._spool.close()
        shutil.rmtree(self._folder, ignore_errors=True)
