"""The worker's program: a Celery worker whose only task is the doorbell, and the slots that it wakes.

Celery with Redis may lose a message or deliver it twice, and here both are harmless: a doorbell says only that there
may be work. The work itself is claimed from the API. A thread of Celery's pool is busy as long as its slot is, so a
busy worker leaves doorbells to others.
"""

from __future__ import annotations

import logging
import signal
import sys
import warnings
from collections.abc import Callable
from functools import partial
from threading import Thread
from types import FrameType
from typing import Any

from celery import Celery, bootsteps
from celery.concurrency.thread import TaskPool
from celery.exceptions import SecurityWarning
from celery.platforms import EX_OK
from celery.worker import state
from celery.worker.consumer import Consumer
from pydantic import ValidationError

from cpt_core import tracing
from cpt_core.logs import configure
from cpt_core.protocol import DOORBELL, celery_queue
from cpt_core.storage import StorageError, check_access
from worker.devices import slots
from worker.home import Home
from worker.launchers import ForkServer
from worker.presence import Presence
from worker.settings import WorkerSettings
from worker.slots import Slots
from worker.stop import Stop
from worker.telemetry import Telemetry

log = logging.getLogger(__name__)

_SOCKET_SECONDS = 10
_CONNECT_SECONDS = 5
_RETRY_SECONDS = 1
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)


class Listener(Consumer):  # type: ignore[misc]
    """Celery's consumer, but it looks for a lost broker every second, not ever more seldom, up to half a minute.

    And it sees that the broker is lost when a doorbell cannot be acknowledged. Celery only logs that: the doorbell
    counts as being worked on for ever, no other is asked for, and so nothing shows that the connection is gone.
    """

    def ensure_connected(self, conn: Any) -> Any:
        """The connection, once there is one."""
        conn.ensure_connection = partial(
            conn.ensure_connection, interval_start=_RETRY_SECONDS, interval_step=0, interval_max=_RETRY_SECONDS
        )
        return super().ensure_connected(conn)

    def call_soon_ack(self, answer: Callable[..., None], logger: logging.Logger, _logged: object, **more: Any) -> Any:
        """Have the loop acknowledge or reject a message: no error is only logged, each ends the loop."""
        return super().call_soon_ack(answer, logger, (), **more)


class Threads(TaskPool):  # type: ignore[misc]
    """Celery's pool of threads, but when one is free again it says so.

    While all are busy Celery does not listen for doorbells, and would find out at its next look, up to a second later.
    """

    _hub: Any = None

    def register_with_event_loop(self, hub: Any) -> None:
        """Celery's loop is about to run."""
        self._hub = hub

    def on_apply(self, *args: Any, **kwargs: Any) -> Any:
        """Have a task run."""
        applied = super().on_apply(*args, **kwargs)
        applied.f.add_done_callback(self._look)
        return applied

    def _look(self, _done: object) -> None:
        if self._hub is not None:
            self._hub.call_soon(lambda: None)


def celery_app(settings: WorkerSettings) -> Celery:
    """The Celery application; its settings are those that survived the fault experiments."""
    app = Celery("cpt-worker", broker=settings.broker_url.get_secret_value(), set_as_current=False)
    app.conf.update(
        accept_content=["json"],
        task_serializer="json",
        task_acks_late=False,
        task_ignore_result=True,
        result_backend=None,
        worker_pool=Threads,
        worker_consumer=Listener,
        worker_concurrency=settings.slots,
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            "socket_timeout": _SOCKET_SECONDS,
            "socket_connect_timeout": _CONNECT_SECONDS,
            "health_check_interval": _SOCKET_SECONDS,
        },
    )
    return app


def main() -> int:
    """Run a worker until a signal ends it. The answer is the exit code of the process."""
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs each request
    warnings.simplefilter("ignore", SecurityWarning)  # it is about root and pickle, and nothing here accepts pickle
    try:
        settings = WorkerSettings()
        configure(settings.log_format)
        check_access(settings.storage_url)
        own = slots(settings)
        home = Home(settings.state_dir, settings.name)
        telemetry = Telemetry()
        if settings.metrics_port is not None:
            telemetry.serve(settings.metrics_host, settings.metrics_port)
    except ValidationError as error:
        _complain("\n".join(_problem(item) for item in error.errors()))
        return 2
    except StorageError as error:
        _complain(f"CPT_STORAGE_URL: no access to {settings.storage_url}, where checkpoints go: {error}")
        return 2
    except (ValueError, OSError) as error:
        _complain(str(error))
        return 2
    tracing.start("cpt-worker")
    stop = Stop()
    # Made in the main thread, with which it dies.
    forks = ForkServer() if settings.warm and sys.platform == "linux" else None
    try:
        work = Slots(settings, own, home, stop, forks, telemetry)
        return _serve(settings, work, Presence(settings, own, stop), stop)
    finally:
        if forks:
            forks.close()
        home.close()
        tracing.stop()


def _serve(settings: WorkerSettings, work: Slots, presence: Presence, stop: Stop) -> int:
    app = celery_app(settings)

    def doorbell(task: Any) -> None:
        work.work((task.request.headers or {}).get(tracing.HEADER))

    app.task(name=DOORBELL, bind=True)(doorbell)
    app.steps["worker"].add(_working(work, settings.slots, presence, stop))

    worker = app.Worker(
        hostname=f"{settings.name}@cpt",
        queues=[celery_queue(name) for name in settings.queues],
        loglevel="INFO",
        quiet=True,
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
    )
    worker.start()
    return int(worker.exitcode or 0)


def _working(work: Slots, count: int, presence: Presence, stop: Stop) -> type:
    """What Celery's worker shall do beside listening."""

    class Working(bootsteps.StartStopStep):  # type: ignore[misc]
        requires = ("celery.worker.components:Pool",)

        def start(self, _worker: Any) -> None:
            # In place of Celery's handlers, whose second stage waits for the tasks that it should end.
            for number in _SIGNALS:
                signal.signal(number, self.on_signal)
            presence.start()
            # A first look without a doorbell: work may wait since before there was anyone to ring for.
            self.threads = [Thread(target=work.work, name=f"first-look-{number}") for number in range(count)]
            for thread in self.threads:
                thread.start()

        def on_signal(self, _number: int, _frame: FrameType | None) -> None:
            stop.ask()
            state.should_stop = EX_OK

        def close(self, _worker: Any) -> None:
            # Celery ends without a signal when it meets an error that it cannot survive.
            if not stop:
                stop.ask()

        def stop(self, _worker: Any) -> None:
            for thread in self.threads:
                thread.join()
            presence.join()

    return Working


def _problem(item: Any) -> str:
    name = "CPT_" + "_".join(str(part) for part in item["loc"]).upper()
    return f"{name}: {item['msg']}"


def _complain(message: str) -> None:
    print(f"cpt worker: {message}", file=sys.stderr)  # noqa: T201 - a program's word to its user
