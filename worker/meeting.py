"""Where the nodes of a job can meet on this machine, should its first node be here."""

from __future__ import annotations

import logging
import random
import socket
from urllib.parse import urlsplit

from cpt_core.process import address_towards
from worker.settings import WorkerSettings

log = logging.getLogger(__name__)

_PORTS = range(20_000, 32_000)  # below those that the kernel gives to connections
_TRIES = 20


def endpoint(settings: WorkerSettings) -> str | None:
    """`address:port` with a port that is free now; None: this machine has no address, and trains no such jobs."""
    address = settings.address
    if address is None:
        url = urlsplit(settings.api_url)
        try:
            address = address_towards(url.hostname or "", url.port or 80)
        except OSError as error:
            log.debug("no way to the API: %s", error)
            return None
    port = _free_port(address)
    shown = f"[{address}]" if ":" in address else address
    return None if port is None else f"{shown}:{port}"


def _free_port(address: str) -> int | None:
    """Somebody may take it before the job's first node does; then the attempt begins anew, without a strike."""
    for port in random.sample(_PORTS, _TRIES):
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
            try:
                probe.bind(("", port))
            except OSError:
                continue
            return port
    return None
