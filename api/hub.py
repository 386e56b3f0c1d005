"""Wakes the streams of this process when a job's log grows: one Redis subscription however many listeners."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator

import redis.asyncio
from redis.exceptions import RedisError

from api.broker import WAKE_CHANNEL

logger = logging.getLogger(__name__)

POLL_SECONDS = 1.0
"""How often a stream looks by itself while Redis is away."""
IDLE_SECONDS = 10.0
"""How often it looks by itself otherwise: a wake-up can be lost."""
RECONNECT_SECONDS = 1.0
READ_TIMEOUT = 5.0


class Hub:
    """Listeners by job. All methods but `wake_from_thread` are for the event loop."""

    def __init__(self, broker_url: str) -> None:
        self._url = broker_url
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self._connected = False
        self._task: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Subscribe, in the background."""
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.create_task(self._subscribe(), name="hub")

    async def stop(self) -> None:
        """Unsubscribe."""
        if self._task:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    @contextlib.contextmanager
    def listener(self, job_id: str) -> Iterator[asyncio.Event]:
        """An event that is set whenever the job's log has grown. Clear it before reading, so no growth is missed."""
        event = asyncio.Event()
        listeners = self._waiting.setdefault(job_id, set())
        listeners.add(event)
        try:
            yield event
        finally:
            listeners.discard(event)
            if not listeners:
                self._waiting.pop(job_id, None)

    async def wait(self, event: asyncio.Event) -> None:
        """Until the log grows, or it is time to look anyway."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(IDLE_SECONDS if self._connected else POLL_SECONDS):
                await event.wait()

    def wake_from_thread(self, job_id: str) -> None:
        """Wake this process's listeners at once, without the way through Redis."""
        if self._loop and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake, job_id)

    def _wake(self, job_id: str) -> None:
        for event in self._waiting.get(job_id, ()):
            event.set()

    async def _subscribe(self) -> None:
        while True:
            try:
                await self._read()
            except (RedisError, OSError) as error:
                if self._connected:
                    logger.warning("redis is away, streams poll: %s", error)
            self._connected = False
            for job_id in list(self._waiting):  # what was published meanwhile was not heard
                self._wake(job_id)
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _read(self) -> None:
        client = redis.asyncio.Redis.from_url(self._url, socket_connect_timeout=2, health_check_interval=5)
        async with client, client.pubsub() as pubsub:
            await pubsub.subscribe(WAKE_CHANNEL)
            self._connected = True
            for job_id in list(self._waiting):
                self._wake(job_id)
            while True:
                message = await pubsub.get_message(ignore_subscribe_messages=True, timeout=READ_TIMEOUT)
                if message is not None:
                    self._wake(message["data"].decode())
