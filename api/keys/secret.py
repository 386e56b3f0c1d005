"""How a key is made and read: `cpt_`, 16 hexadecimal digits to look it up by, `_`, 64 of secret.

The secret is 256 random bits, so the database holds its plain SHA-256: there is nothing to guess that a slow hash would
make slower. The fixed form lets scanners of repositories find keys that were committed by mistake.
"""

from __future__ import annotations

import hashlib
import re
import secrets

_FORM = re.compile(r"cpt_([0-9a-f]{16})_[0-9a-f]{64}", re.ASCII)


def new() -> tuple[str, str]:
    """The id of a new key, and the key."""
    name = secrets.token_hex(8)
    return f"key_{name}", f"cpt_{name}_{secrets.token_hex(32)}"


def key_id(key: str) -> str | None:
    """The id of a key; None: it has not the form of one."""
    found = _FORM.fullmatch(key)
    return f"key_{found[1]}" if found else None


def prefix(key_id: str) -> str:
    """How the key of this id begins."""
    return "cpt_" + key_id.removeprefix("key_")


def digest(key: str) -> str:
    """What is stored of a key."""
    return hashlib.sha256(key.encode()).hexdigest()
