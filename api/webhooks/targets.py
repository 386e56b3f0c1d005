"""Which addresses a webhook may reach: public ones, and those of networks that the operator names.

A name is looked up when a connection is made, and the connection goes to an address that was checked: what the name
says a moment later, or to somebody else, does not matter.
"""

from __future__ import annotations

import ipaddress
import queue
import socket
import threading
from collections.abc import Sequence
from urllib.parse import urlsplit

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

LOOKUP_SECONDS = 5.0

_REMEDY = "an operator can allow its network with CPT_WEBHOOK_NETWORKS"

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")

_SERVICES = frozenset({ipaddress.ip_address("168.63.129.16")})
"""Global addresses behind which a cloud's own services answer its machines: Azure's wire server."""


class TargetError(Exception):
    """A URL that may not be reached, or a name that is not known; the message says why."""


class UnknownNameError(TargetError):
    """The name is not known, or not now."""


class Targets:
    """The rule, on the networks that the operator allows beside the public ones."""

    def __init__(self, networks: Sequence[Network]) -> None:
        self._networks = tuple(networks)

    def check(self, url: str) -> None:
        """Refuse a URL that could not be reached anyway. A name that is unknown so far passes.

        Raises:
            TargetError: it is refused.
        """
        parts = urlsplit(url)
        if parts.scheme == "http" and not self._networks:
            raise TargetError(f"must be https; {_REMEDY}, to which plain http may go as well")
        try:
            self.addresses(parts.hostname or "", parts.port or 443, plain=parts.scheme == "http")
        except UnknownNameError:
            return

    def addresses(self, host: str, port: int, *, plain: bool) -> list[Address]:
        """The addresses of a host, all of which may be reached; `plain`: without TLS.

        Raises:
            TargetError: one of them may not, or there are none.
        """
        found = [ipaddress.ip_address(text) for text in _lookup(host, port)]
        for address in found:
            if any(_embedded(address) in network for network in self._networks):
                continue
            if plain:
                raise TargetError(f"{address} may be reached over https alone; {_REMEDY}")
            if not is_public(address):
                raise TargetError(f"{address} is no public address; {_REMEDY}")
        return found


def is_public(address: Address) -> bool:
    """Whether an address is of the public internet: not private, loopback, link-local, multicast or reserved."""
    address = _embedded(address)
    return address.is_global and not address.is_multicast and address not in _SERVICES


def _embedded(address: Address) -> Address:
    """The IPv4 address to which an IPv6 address leads, where it does."""
    if isinstance(address, ipaddress.IPv6Address):
        if address in _NAT64:
            return ipaddress.IPv4Address(address.packed[-4:])
        return address.ipv4_mapped or address.sixtofour or address
    return address


def _lookup(host: str, port: int) -> list[str]:
    answer: queue.SimpleQueue[list[str] | OSError | UnicodeError] = queue.SimpleQueue()

    def look() -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            answer.put(list(dict.fromkeys(str(item[4][0]) for item in found)))
        except (OSError, UnicodeError) as error:
            answer.put(error)

    # The resolver has no time limit of its own that a caller could set.
    threading.Thread(target=look, name="webhook-lookup", daemon=True).start()
    try:
        found = answer.get(timeout=LOOKUP_SECONDS)
    except queue.Empty:
        raise UnknownNameError(f"{host} was not resolved within {LOOKUP_SECONDS:.0f} s") from None
    if isinstance(found, Exception) or not found:
        raise UnknownNameError(f"{host} cannot be resolved: {found or 'it has no address'}")
    return found
