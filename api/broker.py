"""What leaves the API for Redis: doorbells for workers, wake-ups for other API processes. Best effort.

Nothing here is needed for correctness: a lost doorbell is rung again by the sweeper, a lost wake-up only means that a
stream reads the database a little later. So no request ever waits for Redis: one thread sends, from a set in which
repeats fall together.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

import redis
from celery import Celery

from cpt_core import tracing
from cpt_core.protocol import DOORBELL, celery_queue

logger = logging.getLogger(__name__)

WAKE_CHANNEL = "cpt.wake"
"""Pub/sub channel; a message is the id of a job whose log has grown."""

CONNECT_TIMEOUT = 2.0
SOCKET_TIMEOUT = 5.0


class Bells:
    """Rings for workers and wakes other API processes, from a thread of its own."""

    def __init__(self, broker_url: str) -> None:
        self._celery = Celery("cpt-api", broker=broker_url, set_as_current=False)
        self._celery.conf.update(
            broker_transport_options={"socket_timeout": SOCKET_TIMEOUT, "socket_connect_timeout": CONNECT_TIMEOUT},
            broker_connection_timeout=CONNECT_TIMEOUT,
            task_ignore_result=True,
            task_serializer="json",
            accept_content=["json"],
        )
        self._redis = redis.Redis.from_url(
            broker_url, socket_timeout=SOCKET_TIMEOUT, socket_connect_timeout=CONNECT_TIMEOUT
        )
        self._pending: dict[tuple[str, str], str | None] = {}
        """What is to be sent, with the trace of the first request that led to it."""
        self._changed = threading.Condition()
        self._stopping = False
        self._silent = False
        self._thread = threading.Thread(target=self._run, name="bells", daemon=True)

    def start(self) -> None:
        """Start sending."""
        self._thread.start()

    def stop(self) -> None:
        """Stop; what is still pending is dropped, as it may be."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join(timeout=0.5)
        self._redis.close()

    def ring(self, queue: str) -> None:
        """Tell the workers of a queue that there may be work."""
        self._put(("ring", queue))

    def wake(self, job_id: str) -> None:
        """Tell the other API processes that a job's log has grown."""
        self._put(("wake", job_id))

    def is_quiet(self, queue: str) -> bool:
        """No doorbell waits in this queue.

        Raises:
            redis.RedisError: Redis is away.
        """
        return self._redis.llen(celery_queue(queue)) == 0

    def ping(self) -> float:
        """Seconds until Redis has answered.

        Raises:
            redis.RedisError: it is away.
        """
        began = time.perf_counter()
        self._redis.ping()
        return time.perf_counter() - began

    def _put(self, item: tuple[str, str]) -> None:
        with self._changed:
            self._pending[item] = self._pending.get(item) or tracing.traceparent()
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._pending or self._stopping)
                if self._stopping:
                    return
                batch, self._pending = self._pending, {}
            try:
                for (kind, name), parent in batch.items():
                    self._send(kind, name, parent)
                self._silent = False
            except Exception as error:  # whatever the transport raises, the next batch is tried again
                if not self._silent:
                    logger.warning("redis is away, bells are not heard: %s", error)
                self._silent = True

    def _send(self, kind: str, name: str, parent: str | None) -> None:
        if kind == "wake":
            self._redis.publish(WAKE_CHANNEL, name)
            return
        queue = celery_queue(name)
        # Not by OpenTelemetry's instrumentation of Celery: it never ends the span of a task that is sent by its name.
        with tracing.span(f"send {queue}", kind="producer", parent=parent, queue=name):
            options: dict[str, Any] = {"queue": queue, "retry": False, "ignore_result": True}
            self._celery.send_task(DOORBELL, headers=tracing.headers(), **options)
