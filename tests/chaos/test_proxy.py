"""The proxy does to connections what its name for it says."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.chaos.proxy import Proxy
from tests.e2e.stack import until


@pytest.fixture
def echo() -> Iterator[int]:
    """Port of a server that says everything back."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(connection: socket.socket) -> None:
        with connection:
            try:
                while data := connection.recv(100):
                    connection.sendall(data)
            except OSError:
                return

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


@pytest.fixture
def proxy(echo: int) -> Iterator[Proxy]:
    found = Proxy(echo)
    yield found
    found.close()


def connect(proxy: Proxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), 1)


def says(connection: socket.socket, data: bytes = b"hello") -> bytes:
    connection.settimeout(0.7)
    connection.sendall(data)
    return connection.recv(100)


def is_deaf(connection: socket.socket) -> bool:
    """What is said comes nowhere, and no error tells of it."""
    try:
        says(connection)
    except TimeoutError:
        return True
    return False


def test_it_forwards(proxy: Proxy) -> None:
    with connect(proxy) as connection:
        assert says(connection) == b"hello"


def test_a_cut_connection_is_reset_and_a_new_one_works(proxy: Proxy) -> None:
    with connect(proxy) as connection:
        says(connection)
        proxy.cut()
        with pytest.raises(OSError):
            until(lambda: says(connection) is None, "a reset", 5)
    with connect(proxy) as connection:
        assert says(connection) == b"hello"


def test_in_a_black_hole_old_and_new_connections_are_deaf_until_it_is_healed(proxy: Proxy) -> None:
    with connect(proxy) as old:
        says(old)
        proxy.black_hole()
        assert is_deaf(old)
        with connect(proxy) as new:
            assert is_deaf(new)
        proxy.heal()
        assert is_deaf(old), "what was swallowed does not come back"
        with connect(proxy) as new:
            assert says(new) == b"hello"


def test_a_half_open_connection_is_deaf_and_a_new_one_works(proxy: Proxy) -> None:
    with connect(proxy) as old:
        says(old)
        proxy.half_open()
        assert is_deaf(old)
        with connect(proxy) as new:
            assert says(new) == b"hello"


def test_a_refused_connection_ends_at_once(proxy: Proxy) -> None:
    proxy.refuse()
    with pytest.raises(OSError), connect(proxy) as connection:
        until(lambda: says(connection) is None, "a reset", 5)


def test_a_delay_holds_back(proxy: Proxy) -> None:
    proxy.delay(0.2)
    with connect(proxy) as connection:
        began = time.monotonic()
        assert says(connection) == b"hello"
        assert time.monotonic() - began >= 0.2


def test_connections_that_are_closed_are_forgotten(proxy: Proxy) -> None:
    for _ in range(5):
        with connect(proxy) as connection:
            says(connection)
    until(lambda: proxy.connections == 0, "the proxy to forget", 5)
