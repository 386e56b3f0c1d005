"""What a webhook may reach: no address but public ones and those that the operator allows, however they are written."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.webhooks import transport
from api.webhooks.targets import TargetError, Targets, is_public
from api.webhooks.transport import PostError, post
from tests.api.receiver import Receiver

LOOPBACK = [ip_network("127.0.0.0/8"), ip_network("::1/128")]

PRIVATE = [
    "127.0.0.1",
    "127.1",
    "0x7f000001",
    "0x7f.0.0.1",
    "2130706433",
    "0177.0.0.1",
    "[::1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::]",
    "0.0.0.0",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "100.100.100.200",
    "169.254.169.254",
    "[fd00:ec2::254]",
    "[fe80::1]",
    "[64:ff9b::7f00:1]",
    "[2002:7f00:1::]",
    "168.63.129.16",
    "224.0.0.1",
    "255.255.255.255",
    "localhost",
    "localhost.",
    "LOCALHOST",
]


@pytest.fixture
def target() -> Iterator[Receiver]:
    opened = Receiver()
    yield opened
    opened.close()


@pytest.mark.parametrize("host", PRIVATE)
def test_private_targets_are_refused_in_every_notation(host: str) -> None:
    with pytest.raises(PostError, match=r"no public address|cannot be resolved"):
        post(f"https://{host}/", {}, b"{}", Targets([]))


@pytest.mark.parametrize("host", ["127.0.0.1", "0x7f000001", "2130706433", "[::ffff:127.0.0.1]", "localhost"])
def test_they_are_refused_when_a_webhook_is_made(client: TestClient, host: str) -> None:
    for scheme in ("https", "http"):
        answer = client.post("/v1/webhooks", json={"url": f"{scheme}://{host}:9/"})
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/url")
        assert "CPT_WEBHOOK_NETWORKS" in answer.json()["detail"]


def test_nothing_is_connected_to_before_the_address_is_checked(target: Receiver) -> None:
    for host in ("127.0.0.1", "localhost", "[::ffff:127.0.0.1]"):
        for scheme in ("http", "https"):
            with pytest.raises(PostError):
                post(f"{scheme}://{host}:{target.port}/", {}, b"{}", Targets([]))
    assert target.requests == []


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_public_addresses_are_public(address: str) -> None:
    assert is_public(ip_address(address))


def test_a_name_is_as_private_as_the_worst_of_its_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    addresses = ["8.8.8.8", "10.0.0.1"]
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 443)) for address in addresses]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_arguments, **_options: found)
    with pytest.raises(TargetError, match=r"10\.0\.0\.1"):
        Targets([]).addresses("example.com", 443, plain=False)


def test_plain_http_goes_to_allowed_networks_alone(target: Receiver) -> None:
    assert post(target.url, {}, b"{}", Targets(LOOPBACK)) == 204
    with pytest.raises(PostError, match="https alone"):
        post("http://8.8.8.8/", {}, b"{}", Targets(LOOPBACK))


def test_an_allowed_network_allows_nothing_else() -> None:
    with pytest.raises(PostError, match="no public address"):
        post("https://10.0.0.1/", {}, b"{}", Targets(LOOPBACK))


def test_a_name_is_looked_up_once_and_the_connection_goes_to_what_was_checked(
    target: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that says something else at each look-up, as one does that is after DNS rebinding."""
    looked: list[str] = []
    real = socket.getaddrinfo

    def rebinding(host: str, *arguments: Any, **options: Any) -> Any:
        looked.append(host)
        answers = {"rebinding.example": "127.0.0.1" if looked.count(host) == 1 else "10.255.255.1"}
        return real(answers.get(host, host), *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    assert post(f"http://rebinding.example:{target.port}/", {}, b"{}", Targets(LOOPBACK)) == 204
    assert looked.count("rebinding.example") == 1
    assert target.requests[0].headers["host"] == f"rebinding.example:{target.port}"


def test_redirects_are_not_followed() -> None:
    inner = Receiver()
    outer = Receiver(302, headers={"Location": inner.url})
    assert post(outer.url, {}, b"{}", Targets(LOOPBACK)) == 302
    assert inner.requests == []
    outer.close()
    inner.close()


def test_an_answer_that_drips_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "SECONDS", 0.5)
    listener = socket.create_server(("127.0.0.1", 0))
    cut = threading.Event()

    def drip() -> None:
        connection, _address = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nX-Drip: ")
            try:
                while not cut.wait(0.05):
                    connection.sendall(b"x")
            except OSError:
                cut.set()

    thread = threading.Thread(target=drip, daemon=True)
    thread.start()
    with pytest.raises(PostError, match="no answer within"):
        post(f"http://127.0.0.1:{listener.getsockname()[1]}/", {}, b"{}", Targets(LOOPBACK))
    assert cut.wait(10), "the connection is closed"
    thread.join()
    listener.close()


def test_an_endless_answer_is_not_read(target: Receiver) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    sent = []

    def flood() -> None:
        connection, _address = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            try:
                while len(sent) < 1000:
                    connection.sendall(b"x" * 1_000_000)
                    sent.append(1)
            except OSError:
                pass

    thread = threading.Thread(target=flood, daemon=True)
    thread.start()
    assert post(f"http://127.0.0.1:{listener.getsockname()[1]}/", {}, b"{}", Targets(LOOPBACK)) == 200
    thread.join()
    assert len(sent) < 1000
    listener.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for the name `localhost` and no other, with its key."""
    folder = tmp_path_factory.mktemp("tls")
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    )
    subprocess.run(
        [*command.split(), "-keyout", folder / "key.pem", "-out", folder / "cert.pem"], check=True, capture_output=True
    )
    return folder


def test_the_certificate_is_checked_against_the_name_not_the_address(certificate: Path) -> None:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    trusting = ssl.create_default_context(cafile=certificate / "cert.pem")
    target = Receiver(tls=server)
    try:
        assert post(f"https://localhost:{target.port}/", {}, b"{}", Targets(LOOPBACK), trusting) == 204
        with pytest.raises(PostError, match="certificate verify failed"):
            post(f"https://127.0.0.1:{target.port}/", {}, b"{}", Targets(LOOPBACK), trusting)
        with pytest.raises(PostError, match="certificate verify failed"):
            post(f"https://localhost:{target.port}/", {}, b"{}", Targets(LOOPBACK))
    finally:
        target.close()


def test_networks_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    from api.settings import ApiSettings

    monkeypatch.setenv("CPT_AGENT_TOKEN", "x" * 20)
    monkeypatch.setenv("CPT_WEBHOOK_NETWORKS", "10.0.0.0/8, ::1/128")
    assert ApiSettings().webhook_networks == [ip_network("10.0.0.0/8"), ip_network("::1/128")]
