"""Where specs differ: JSON pointers and the values there. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import JsonValue

IGNORED = frozenset({"/name"})
"""A label is no difference."""


def escape(key: str) -> str:
    """A key as a part of a JSON pointer (RFC 6901)."""
    return key.replace("~", "~0").replace("/", "~1")


def leaves(document: dict[str, Any], prefix: str = "") -> dict[str, JsonValue]:
    """The values of a document by JSON pointer. A list is one value, and so is an empty object."""
    found: dict[str, JsonValue] = {}
    for key, value in document.items():
        pointer = f"{prefix}/{escape(key)}"
        if isinstance(value, dict) and value:
            found |= leaves(value, pointer)
        else:
            found[pointer] = value
    return found


def differences(documents: Sequence[dict[str, Any]]) -> tuple[list[str], list[dict[str, JsonValue]]]:
    """The pointers at which not all documents hold the same, and for each document its values there.

    A document without such a field has no entry for it. Pointers come in the order in which documents have them.
    """
    flat = [leaves(document) for document in documents]
    pointers = dict.fromkeys(pointer for document in flat for pointer in document if pointer not in IGNORED)
    missing = object()
    varying = [
        pointer
        for pointer in pointers
        if any(document.get(pointer, missing) != flat[0].get(pointer, missing) for document in flat)
    ]
    return varying, [{pointer: doc[pointer] for pointer in varying if pointer in doc} for doc in flat]
