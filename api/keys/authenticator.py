"""Who a key belongs to, answered mostly from memory."""

from __future__ import annotations

import hmac
import threading
import time
from dataclasses import dataclass
from datetime import datetime

from api.db import Database
from api.keys import repository, secret
from api.keys.schemas import Scope
from api.problems import ApiError
from cpt_core.events import now

CACHE_SECONDS = 3.0
"""How long a key is believed without a look at the database: as long as a revocation in another process may take."""
CACHE_SIZE = 10_000
"""Keys remembered; with more the memory begins anew."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A valid key."""

    key: str
    name: str
    project: str
    scope: Scope
    expires_at: datetime | None
    key_rate: int | None
    """Requests a minute of the key."""
    project_rate: int | None
    """Requests a minute of all the project's keys."""


class Authenticator:
    """Keys by what is sent. A key that is used is noted in memory; `write_uses`, called now and then, stores that."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[str, tuple[Identity, float]] = {}
        self._uses: dict[str, datetime] = {}
        self._lock = threading.Lock()

    def remembered(self, key: str) -> Identity | None:
        """The owner of a key that was looked up a moment ago."""
        found = self._known.get(secret.digest(key))
        if found is None or found[1] < time.monotonic():
            return None
        return self._valid(found[0])

    def look_up(self, key: str) -> Identity:
        """The owner of a key, from the database.

        Raises:
            ApiError: it is no key of this server, or no longer.
        """
        key_id = secret.key_id(key)
        if key_id is None:
            raise refused("this is not an API key: they begin with cpt_")
        asked = time.monotonic()
        with self._database.read() as session:
            row = repository.with_project(session, key_id)
        digest = secret.digest(key)
        if row is None or not hmac.compare_digest(row[0].digest, digest):
            raise refused("there is no such API key")
        found, project = row
        if found.revoked_at is not None:
            raise refused("this API key was revoked: ask for another")
        identity = Identity(
            key=found.id,
            name=found.name,
            project=found.project,
            scope=Scope(found.scope),
            expires_at=found.expires_at,
            key_rate=found.requests_per_minute,
            project_rate=project.requests_per_minute,
        )
        if len(self._known) >= CACHE_SIZE:
            self._known.clear()
        self._known[digest] = (identity, asked + CACHE_SECONDS)
        return self._valid(identity)

    def forget(self) -> None:
        """Believe nothing without a look at the database: a key or a limit has changed."""
        self._known.clear()

    def write_uses(self) -> None:
        """Store when keys were last used."""
        with self._lock:
            uses = dict(self._uses)
        if not uses:
            return
        with self._database.write() as session:
            repository.used(session, uses)
        with self._lock:
            self._uses = {key: time for key, time in self._uses.items() if uses.get(key) != time}

    def _valid(self, identity: Identity) -> Identity:
        moment = now()
        if identity.expires_at is not None and identity.expires_at <= moment:
            raise refused("this API key has expired: ask for another")
        with self._lock:
            self._uses[identity.key] = moment
        return identity


def refused(detail: str) -> ApiError:
    """No key, or none that is valid."""
    return ApiError(401, "invalid_token", detail, headers={"WWW-Authenticate": 'Bearer error="invalid_token"'})
