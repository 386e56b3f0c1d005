"""The supervisor of an embedded service: starts the children in order, keeps them alive, and ends them in order.

One thread, one loop. Ending is the reverse of starting: the worker first, so that its jobs can still tell the API that
they saved a checkpoint, then the API, then the broker.
"""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import httpx
import redis

from cpt_client.client import DEFAULT_URL
from cpt_client.embedded import services
from cpt_client.embedded.child import Child, describe
from cpt_client.embedded.home import Home, write_private
from cpt_client.embedded.services import HOST, Service, Settings

TICK = 0.1
"""Seconds between two looks at the children."""

PORTS = range(20_000, 32_768)
"""Where free ports are looked for: below those that Linux and others give to connections."""

START_LIMIT = 60.0
"""Seconds in which a child must be ready."""


class StartError(Exception):
    """The service cannot start; the message says why and what to do."""


class _InterruptedStartError(Exception):
    """Somebody asked for the end while the service was starting."""


class Stack:
    """An embedded service. `run` holds the thread until somebody asks for the end with SIGINT, SIGTERM or SIGHUP."""

    def __init__(self, home: Home, *, port: int, data_root: Path | None, say: Callable[[str], None]) -> None:
        """Prepare it; nothing is started yet.

        Args:
            home: its folder.
            port: port of the API; 0: any free one.
            data_root: folder of the datasets; null: in the home.
            say: prints a line for people.
        """
        self._home, self._port, self._data_root = home, port, data_root
        self._say = say
        self._children: list[Child] = []
        self._stops = 0

    def run(self) -> None:
        """Start, serve until asked to stop, and stop.

        Raises:
            AlreadyRunningError: another process serves this home.
            StartError: it cannot start; everything that had started has ended.
        """
        os.umask(0o077)  # what the children write is for this user, too
        self._home.prepare()
        with self._home.locked():
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, self._ask_to_stop)
            try:
                settings = self._settings()
                self._start(settings)
                self._announce(settings)
                self._serve()
            except _InterruptedStartError:
                pass
            finally:
                self._stop()
                self._home.ready.unlink(missing_ok=True)

    def _ask_to_stop(self, _number: int, _frame: FrameType | None) -> None:
        self._stops += 1

    def _settings(self) -> Settings:
        port, broker_port = free_port(self._port), free_port(0)
        return Settings(self._home, port, broker_port, (self._data_root or self._home.data).absolute())

    def _start(self, settings: Settings) -> None:
        self._start_child(services.broker(settings), lambda: _broker_answers(settings.broker_url))
        self._run_to_end(services.migrate(settings))
        self._start_child(services.api(settings), lambda: _api_answers(settings.url))
        self._start_child(services.worker(settings), lambda: True)

    def _start_child(self, service: Service, is_ready: Callable[[], bool]) -> None:
        child = Child(service, self._home.logs)
        child.start()
        self._children.append(child)
        deadline = time.monotonic() + START_LIMIT
        while not is_ready():
            code = child.exit_code()
            if code is not None:
                raise StartError(_report(child, describe(code)))
            if time.monotonic() > deadline:
                raise StartError(_report(child, f"is not ready after {START_LIMIT:.0f} s"))
            self._pause()

    def _run_to_end(self, service: Service) -> None:
        child = Child(service, self._home.logs)
        child.start()
        self._children.append(child)
        while (code := child.exit_code()) is None:
            self._pause()
        self._children.remove(child)
        if code != 0:
            raise StartError(_report(child, describe(code)))

    def _pause(self) -> None:
        if self._stops:
            raise _InterruptedStartError
        time.sleep(TICK)

    def _announce(self, settings: Settings) -> None:
        ready = {"url": settings.url, "pid": os.getpid()}
        write_private(self._home.ready, json.dumps(ready) + "\n")
        self._say(f"CPT Service is at {settings.url} (API reference: {settings.url}/docs)")
        self._say(f"Everything it keeps is in {self._home.root}; logs are in {self._home.logs}")
        where = "" if settings.url == DEFAULT_URL else f"CPT_URL={settings.url} "
        self._say(f"Train something: {where}cpt submit SPEC.yaml --watch")
        self._say("Ctrl-C stops it; running jobs save a checkpoint and continue at the next start")

    def _serve(self) -> None:
        while True:
            self._pause()
            for child in self._children:
                name = child.service.name
                for line in child.alerts():
                    self._say(f"{name}: {line}")
                if (news := child.tend()) is not None:
                    self._say(news)

    def _stop(self) -> None:
        """End the children, last started first; a second request to stop ends them at once."""
        if self._children and self._stops:
            self._say("stopping; running jobs save a checkpoint (again: stop at once)")
        asked = self._stops
        for child in reversed(self._children):
            if child.end(hurry=lambda: self._stops > asked):
                self._say(f"{child.service.name} did not end by itself and was killed")


def free_port(wanted: int) -> int:
    """The port, if nobody listens on it; 0: any free one.

    Raises:
        StartError: somebody does.
    """
    if wanted == 0:
        # Not one of the kernel's choice: it gives those to connections too, until the service that it is for listens.
        return next(port for port in random.SystemRandom().sample(PORTS, len(PORTS)) if _error_of(port) is None)
    error = _error_of(wanted)
    if error is None:
        return wanted
    if error.errno == errno.EADDRINUSE:
        message = f"port {wanted} of {HOST} is in use: stop what uses it, or choose another with --port (0: any)"
    else:
        message = f"port {wanted} of {HOST} cannot be used: {error.strerror}"
    raise StartError(message) from error


def _error_of(port: int) -> OSError | None:
    """Why nothing can listen on the port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            return error
    return None


def _broker_answers(url: str) -> bool:
    try:
        with redis.Redis.from_url(url, socket_timeout=1, socket_connect_timeout=1) as client:
            return bool(client.ping())
    except redis.ConnectionError:  # not listening yet, or still loading its file
        return False


def _api_answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=2, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def _report(child: Child, what: str) -> str:
    lines = "\n".join(f"  {line}" for line in child.tail())
    return f"{child.service.name} {what}; the end of its log ({child.log}):\n{lines}"
