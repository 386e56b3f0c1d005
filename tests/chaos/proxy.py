"""A TCP proxy that can do to connections what networks do: cut, half-open, swallow, delay."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
import time
from collections.abc import Callable
from typing import Any, Literal

Mode = Literal["pass", "black_hole", "refuse"]
_PIECE = 65536
_ESTABLISHED = 1  # of the kernel's states of TCP

Tap = Callable[[int, bytes], None]
"""Told of what a client sends: number of its connection, bytes."""


class Proxy:
    """Forwards connections to a port of this machine, and misbehaves when told to."""

    def __init__(self, target: int, tap: Tap | None = None) -> None:
        self.target, self._tap = target, tap  # new connections go to the target of their time
        self._mode: Mode = "pass"
        self._delay = 0.0
        self._lock = threading.Lock()
        self._pairs: set[_Pair] = set()
        self._count = 0
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port: int = self._listener.getsockname()[1]
        self._closed = False
        threading.Thread(target=self._accept, name=f"proxy-{target}", daemon=True).start()

    @property
    def connections(self) -> int:
        """Connections that are open."""
        with self._lock:
            return len(self._pairs)

    def black_hole(self) -> None:
        """From now on every connection stays open and nothing comes through, and new ones are taken but not served."""
        with self._lock:
            self._mode = "black_hole"
            for pair in self._pairs:
                pair.deaf = True

    def half_open(self) -> None:
        """The far side of each connection is gone and the near side never hears of it. New ones work."""
        with self._lock:
            for pair in self._pairs:
                pair.deaf = True
                pair.drop_far()

    def cut(self) -> None:
        """Reset every connection. New ones work."""
        with self._lock:
            pairs, self._pairs = self._pairs, set()
        for pair in pairs:
            pair.close()

    def refuse(self) -> None:
        """Cut every connection, and each new one at once."""
        self._mode = "refuse"
        self.cut()

    def delay(self, seconds: float) -> None:
        """Hold back whatever passes for so long."""
        self._delay = seconds

    def heal(self) -> None:
        """Forward again. Connections that were swallowed stay so: their peers have lost what they sent."""
        with self._lock:
            self._mode, self._delay = "pass", 0.0

    def close(self) -> None:
        """End everything."""
        self._closed = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while not self._closed:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            if self._mode == "refuse":
                _reset(near)
                continue
            with self._lock:
                self._count += 1
                pair = _Pair(near, self._count, deaf=self._mode == "black_hole")
                self._pairs.add(pair)
            threading.Thread(target=self._serve, args=(pair,), daemon=True).start()

    def _serve(self, pair: _Pair) -> None:
        try:
            if not pair.deaf:
                pair.far = socket.create_connection(("127.0.0.1", self.target), 5)
            self._pump(pair)
        except OSError:
            pass
        finally:
            with self._lock:
                self._pairs.discard(pair)
            pair.close()

    def _pump(self, pair: _Pair) -> None:
        with selectors.DefaultSelector() as ready:
            ready.register(pair.near, selectors.EVENT_READ)
            far = pair.far
            if far is not None:
                ready.register(far, selectors.EVENT_READ)
            while True:
                if pair.deaf:
                    # Nothing is read, so nothing is acknowledged beyond the kernel's buffer; until it is closed here.
                    if pair.closed.wait(0.2) or _hung_up(pair.near):
                        return
                    continue
                for key, _ in ready.select(0.2):
                    source = key.fileobj
                    data = _receive(source)
                    if self._delay:
                        time.sleep(self._delay)
                    if pair.deaf:  # the far side, reset by `drop_far`, wakes us too
                        break
                    if not data or pair.closed.is_set():
                        return
                    if source is pair.near:
                        if self._tap is not None:
                            self._tap(pair.number, data)
                        far.sendall(data)  # type: ignore[union-attr]
                    else:
                        pair.near.sendall(data)


class _Pair:
    """A client's connection and the one to the server."""

    def __init__(self, near: socket.socket, number: int, *, deaf: bool) -> None:
        self.near, self.number, self.deaf = near, number, deaf
        self.far: socket.socket | None = None
        self.closed = threading.Event()

    def drop_far(self) -> None:
        if self.far is not None:
            _reset(self.far)

    def close(self) -> None:
        self.closed.set()
        _reset(self.near)
        self.drop_far()


def _receive(source: Any) -> bytes:
    """What there is; nothing once it is closed or reset."""
    with contextlib.suppress(OSError):
        return bytes(source.recv(_PIECE))
    return b""


def _hung_up(connection: socket.socket) -> bool:
    """The client has closed its end."""
    try:
        return connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != _ESTABLISHED
    except OSError:
        return True


def _reset(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
