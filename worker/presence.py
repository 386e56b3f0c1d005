"""The worker tells the API that it is there."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from threading import Thread

from cpt_core import __version__
from cpt_core.protocol import HEARTBEAT_SECONDS, WorkerReport
from worker.agent import Agent
from worker.devices import Slot
from worker.settings import WorkerSettings
from worker.stop import Stop

log = logging.getLogger(__name__)

_REPORT_SECONDS = 10.0
_FAREWELL_SECONDS = 2.0


class Presence:
    """A thread that reports every 10 seconds, and a last time when the worker shall go."""

    def __init__(self, settings: WorkerSettings, slots: Sequence[Slot], stop: Stop) -> None:
        self._settings, self._stop = settings, stop
        self._agent = Agent(settings.api_url, settings.agent_token)
        self._report = WorkerReport(
            worker=settings.name,
            version=__version__,
            queues=settings.queues,
            labels=settings.labels,
            device=slots[0].device,
            slots=len(slots),
            devices=slots[0].devices,
            gangs=True,
        )
        self._thread = Thread(target=self._run, name="presence", daemon=True)

    def start(self) -> None:
        """Begin, with a report."""
        self._thread.start()

    def join(self) -> None:
        """Wait for the last report; the worker has been told to go."""
        self._thread.join()
        self._agent.close()

    def _run(self) -> None:
        while not self._stop:
            failure = self._agent.report(self._report, timeout=_REPORT_SECONDS)
            if failure is not None:
                log.warning("report: %s", failure.message)
            self._stop.wait(HEARTBEAT_SECONDS)
        self._agent.report(self._report.model_copy(update={"leaving": True}), timeout=_FAREWELL_SECONDS)
