"""The client: the Python client, the `cpt` command, and the whole service on one machine.

Importing this package is free: what it offers is loaded when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import cpt_client.exports as exports
    import cpt_client.webhooks as webhooks
    from cpt_client.client import AsyncClient, Client
    from cpt_client.errors import CptError, MissingPartError

__all__ = ["AsyncClient", "Client", "CptError", "MissingPartError", "exports", "webhooks"]

_HOMES = {
    "AsyncClient": "cpt_client.client",
    "Client": "cpt_client.client",
    "CptError": "cpt_client.errors",
    "MissingPartError": "cpt_client.errors",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name in __all__:
        return importlib.import_module(f"cpt_client.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
