"""Wakes the feeds of this process when a job's log grows: one Redis subscription however many listeners."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator
from typing import Any

import redis.asyncio
from anyio import CapacityLimiter
from redis.exceptions import RedisError

from api.broker import WAKE_CHANNEL
from api.log.feed import Feed, Read

logger = logging.getLogger(__name__)

POLL_SECONDS = 1.0
"""How often a feed looks by itself while Redis is away."""
IDLE_SECONDS = 10.0
"""How often it looks by itself otherwise: a wake-up can be lost."""
PROJECT_INTERVAL = 0.25
"""Seconds between two looks at a project, whose jobs report several times a second each."""
BACKFILLS = 4
"""Listeners that read the database by themselves at the same time."""
RECONNECT_SECONDS = 1.0
READ_TIMEOUT = 5.0


def logs_key(job_id: str) -> str:
    """What the hub calls a job's growing logs, beside the job's own name for its events."""
    return f"{job_id}/logs"


class Hub:
    """Feeds of jobs and of projects, and events by name for whatever else grows.

    All methods but `wake_from_thread` are for the event loop.
    """

    def __init__(self, broker_url: str) -> None:
        self._url = broker_url
        self._jobs: dict[str, Feed] = {}
        self._projects: dict[str, Feed] = {}
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self._running: dict[Feed, asyncio.Task[None]] = {}
        self._connected = False
        self._task: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing: asyncio.Future[None] | None = None
        self.backfills = CapacityLimiter(BACKFILLS)
        """What listeners that read by themselves share, so that requests keep threads and connections."""
        self.listeners = 0
        """Open streams."""

    def start(self) -> None:
        """Subscribe, in the background."""
        self._loop = asyncio.get_running_loop()
        self._closing = self._loop.create_future()
        self._task = asyncio.create_task(self._subscribe(), name="hub")

    @property
    def closing(self) -> asyncio.Future[None]:
        """Done when all streams shall end."""
        if self._closing is None:
            raise RuntimeError("the hub is not started")
        return self._closing

    def end_streams(self) -> None:
        """End all streams: this process stops. Their clients go on with another from where they are."""
        if not self.closing.done():
            self.closing.set_result(None)

    async def stop(self) -> None:
        """Unsubscribe."""
        self.end_streams()
        if self._task:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    @contextlib.contextmanager
    def follow_job(self, job_id: str, start: int, read: Read) -> Iterator[Feed]:
        """The feed of a job, shared with all who follow it; a new one begins behind the position `start`."""
        with self._follow(self._jobs, job_id, start, read, 0.0) as feed:
            yield feed

    @contextlib.contextmanager
    def follow_project(self, project: str, start: int, read: Read) -> Iterator[Feed]:
        """The same of all jobs of a project."""
        with self._follow(self._projects, project, start, read, PROJECT_INTERVAL) as feed:
            yield feed

    @contextlib.contextmanager
    def _follow(self, feeds: dict[str, Feed], name: str, start: int, read: Read, interval: float) -> Iterator[Feed]:
        feed = feeds.get(name)
        if feed is None or feed.failed:
            feed = feeds[name] = Feed(start, read, interval=interval, patience=self._patience)
            self._running[feed] = asyncio.create_task(feed.run(), name=f"feed {name}")
        feed.listeners += 1
        try:
            yield feed
        finally:
            feed.listeners -= 1
            if not feed.listeners:
                self._running.pop(feed).cancel()
                if feeds.get(name) is feed:
                    del feeds[name]

    @contextlib.contextmanager
    def listener(self, name: str) -> Iterator[asyncio.Event]:
        """An event that is set when `name` is woken. Clear it before reading, so that no growth is missed."""
        event = asyncio.Event()
        waiting = self._waiting.setdefault(name, set())
        waiting.add(event)
        try:
            yield event
        finally:
            waiting.discard(event)
            if not waiting:
                self._waiting.pop(name, None)

    async def wait(self, event: asyncio.Event) -> bool:
        """Until the event is set, or it is time to look anyway; False: all streams shall end."""
        woken: asyncio.Future[Any] = asyncio.ensure_future(event.wait())
        try:
            await asyncio.wait({woken, self.closing}, timeout=self._patience(), return_when=asyncio.FIRST_COMPLETED)
        finally:
            woken.cancel()
        return not self.closing.done()

    def _patience(self) -> float:
        return IDLE_SECONDS if self._connected else POLL_SECONDS

    def wake_from_thread(self, job_id: str) -> None:
        """Wake this process's feeds at once, without the way through Redis."""
        if self._loop and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake, job_id)

    def _wake(self, job_id: str) -> None:
        if feed := self._jobs.get(job_id):
            feed.wake()
        for event in self._waiting.get(job_id, ()):
            event.set()
        for feed in self._projects.values():  # they look seldom, so whose job it is need not be known
            feed.wake()

    def _wake_all(self) -> None:
        for feed in self._running:
            feed.wake()
        for waiting in self._waiting.values():
            for event in waiting:
                event.set()

    async def _subscribe(self) -> None:
        while True:
            try:
                await self._read()
            except (RedisError, OSError) as error:
                if self._connected:
                    logger.warning("redis is away, streams poll: %s", error)
            self._connected = False
            self._wake_all()  # what was published meanwhile was not heard
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _read(self) -> None:
        client = redis.asyncio.Redis.from_url(self._url, socket_connect_timeout=2, health_check_interval=5)
        async with client, client.pubsub() as pubsub:
            await pubsub.subscribe(WAKE_CHANNEL)
            self._connected = True
            self._wake_all()
            while True:
                message = await pubsub.get_message(ignore_subscribe_messages=True, timeout=READ_TIMEOUT)
                if message is not None:
                    self._wake(message["data"].decode())
