"""The worker tells the API that it is there, and deletes the files of jobs that were deleted there."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from threading import Thread

from cpt_core import __version__
from cpt_core.checkpoint import CheckpointError, prune
from cpt_core.protocol import HEARTBEAT_SECONDS, WorkerOrders, WorkerReport
from worker.agent import Agent
from worker.attempt import job_folder
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
        deleted: list[str] = []
        while not self._stop:
            answer = self._agent.report(self._report.model_copy(update={"deleted": deleted}), timeout=_REPORT_SECONDS)
            if isinstance(answer, WorkerOrders):
                deleted = [job_id for job_id in answer.delete if self._delete(job_id)]
            else:
                log.warning("report: %s", answer.message)
            self._stop.wait(HEARTBEAT_SECONDS)
        last = self._report.model_copy(update={"leaving": True, "deleted": deleted})
        self._agent.report(last, timeout=_FAREWELL_SECONDS)

    def _delete(self, job_id: str) -> bool:
        """Delete what a job kept; whether it is gone."""
        try:
            prune(self._settings.storage_url, [job_folder(job_id)])
        except CheckpointError as error:
            log.warning("the files of a deleted job are left for now: %s", error)
            return False
        except Exception:  # whatever a storage's library raises
            log.exception("the files of a deleted job cannot be deleted")
            return False
        log.info("job %s: its files are deleted", job_id)
        return True
