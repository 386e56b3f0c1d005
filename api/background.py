"""What any API replica does beside answering: the reaper ends silent attempts, deadlines end waits that were too long,
the sweeper rings for waiting jobs.

All may run in any number of replicas at once, without a leader: ending something is a compare-and-set, and a doorbell
too many is harmless.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence

from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from api.agent import service
from api.agent.repository import Pulse
from api.broker import Bells
from api.db import Database
from api.jobs import control, repository
from cpt_core.logs import about

logger = logging.getLogger(__name__)


class Lease:
    """Times the beats of attempts by this process's own monotonic clock. Pure but for the clock it is handed.

    Only silence that was watched counts: what was not looked at for a while (the database was away, this process was
    stopped) starts anew, so an outage of ours ends nobody's attempt.
    """

    def __init__(self, lease_seconds: float, interval: float) -> None:
        self._lease = lease_seconds
        self._longest_gap = max(4 * interval, 2.0)
        self._looked = float("-inf")
        self._since: dict[Pulse, float] = {}

    def silent(self, pulses: Sequence[Pulse], clock: float) -> list[Pulse]:
        """Of the live attempts seen at `clock` (seconds), those that have not beaten for the whole lease."""
        if clock - self._looked > self._longest_gap:
            self._since.clear()
        self._looked = clock
        self._since = {pulse: self._since.get(pulse, clock) for pulse in pulses}
        return [pulse for pulse, since in self._since.items() if clock - since >= self._lease]


class Reaper:
    """Ends attempts whose workers fell silent."""

    def __init__(
        self, database: Database, lease_seconds: float, interval: float, on_end: Callable[[str], None]
    ) -> None:
        """`on_end` is told of each job whose attempt was ended."""
        self._database = database
        self._lease = Lease(lease_seconds, interval)
        self._on_end = on_end

    def tick(self) -> None:
        """Look once."""
        pulses = service.pulses(self._database)
        for pulse in self._lease.silent(pulses, time.monotonic()):
            if service.expire(self._database, pulse):
                with about(job=pulse.job_id, attempt=pulse.attempt):
                    logger.warning("silent for longer than the lease, ended")
                self._on_end(pulse.job_id)


class Deadlines:
    """Ends jobs that have waited in the queue for longer than their specs allow.

    By the clock of the API, which also noted when the wait began: replicas need clocks that agree to a second or so.
    """

    def __init__(self, database: Database, on_end: Callable[[str], None]) -> None:
        """`on_end` is told of each job that was ended."""
        self._database = database
        self._on_end = on_end

    def tick(self) -> None:
        """Look once."""
        for job_id in control.overdue(self._database):
            if control.time_out(self._database, job_id):
                logger.info("%s waited in the queue for too long, ended", job_id)
                self._on_end(job_id)


class Sweeper:
    """Rings again for queues in which jobs wait and no doorbell does."""

    def __init__(self, database: Database, bells: Bells) -> None:
        self._database = database
        self._bells = bells

    def tick(self) -> None:
        """Look once."""
        with self._database.read() as session:
            queues = repository.queues_with_work(session)
        for queue in queues:
            if self._bells.is_quiet(queue):
                self._bells.ring(queue)


class Ticker:
    """Calls `tick` every `interval` seconds in a thread; an outage is logged once and waited out."""

    def __init__(self, name: str, interval: float, tick: Callable[[], None]) -> None:
        self._interval = interval
        self._tick = tick
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start ticking."""
        self._thread.start()

    def stop(self, patience: float = 10.0) -> None:
        """Stop, after the tick under way, for which it waits so many seconds at most."""
        self._stop.set()
        self._thread.join(patience)

    def _run(self) -> None:
        failing = False
        while not self._stop.wait(self._interval):
            try:
                self._tick()
                failing = False
            except (SQLAlchemyError, RedisError) as error:
                if not failing:
                    logger.warning("%s waits: %s", self._thread.name, error)
                failing = True
            except Exception:
                logger.exception("%s failed", self._thread.name)
