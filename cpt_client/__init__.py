"""The client: the Python client, the `cpt` command, and the whole service on one machine.

Importing this package is free: what it offers is loaded when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cpt_client import webhooks
    from cpt_client.client import Client
    from cpt_client.errors import CptError

__all__ = ["Client", "CptError", "webhooks"]


def __getattr__(name: str) -> Any:
    if name == "Client":
        from cpt_client.client import Client

        return Client
    if name == "CptError":
        from cpt_client.errors import CptError

        return CptError
    if name == "webhooks":
        import importlib

        return importlib.import_module("cpt_client.webhooks")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
