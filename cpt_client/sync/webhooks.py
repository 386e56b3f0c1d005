# Made from cpt_client/aio/webhooks.py by tools/sync_client.py: change it there, then `make generated`.
"""The webhooks of a server."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote

from cpt_client.connection import webhook_path
from cpt_client.sync.connection import Connection
from cpt_client.webhooks import Delivery, Webhook


class Webhooks:
    """URLs that are told what happens: `client.webhooks`. Every method raises `CptError` when its request fails."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def create(
        self, url: str, *, events: Sequence[str] | None = None, job: str | None = None, description: str = ""
    ) -> Webhook:
        """Have events sent to a URL; the answer has the secret, this once. Not repeated after a lost connection.

        Args:
            url: where to POST events.
            events: types of events that are wanted; null: all.
            job: only events of this job; null: of the whole project.
            description: for people.
        """
        wanted = None if events is None else [*events]
        body = {"url": url, "events": wanted, "job": job, "description": description}
        return self._connection.ask(Webhook, "POST", "/v1/webhooks", json=body, tries=1)

    def get(self, webhook_id: str) -> Webhook:
        """The webhook as it is now."""
        return self._connection.ask(Webhook, "GET", webhook_path(webhook_id))

    def list(self, *, limit: int | None = None, page_size: int = 100) -> Iterator[Webhook]:
        """Webhooks, newest first, fetched page by page as they are read."""
        return self._connection.pages(Webhook, "/v1/webhooks", {"limit": page_size}, limit=limit)

    def update(self, webhook_id: str, **changes: Any) -> Webhook:
        """Change `url`, `events`, `description` or `enabled`."""
        return self._connection.ask(Webhook, "PATCH", webhook_path(webhook_id), json=changes)

    def delete(self, webhook_id: str) -> None:
        """Remove the webhook, with its deliveries."""
        self._connection.request("DELETE", webhook_path(webhook_id))

    def rotate_secret(self, webhook_id: str) -> Webhook:
        """Give it a new secret; for a day the old one signs as well. Not repeated after a lost connection."""
        return self._connection.ask(Webhook, "POST", webhook_path(webhook_id, "/rotate-secret"), tries=1)

    def ping(self, webhook_id: str) -> Delivery:
        """Send a test event."""
        return self._connection.ask(Delivery, "POST", webhook_path(webhook_id, "/ping"))

    def deliveries(
        self, webhook_id: str, *, state: str | None = None, limit: int | None = None, page_size: int = 100
    ) -> Iterator[Delivery]:
        """What was sent or waits to be, newest first."""
        params = {"limit": page_size, "state": state}
        return self._connection.pages(Delivery, webhook_path(webhook_id, "/deliveries"), params, limit=limit)

    def redeliver(self, webhook_id: str, delivery_id: str) -> Delivery:
        """Send a delivery again, now, with the same id."""
        action = f"/deliveries/{quote(delivery_id, safe='')}/redeliver"
        return self._connection.ask(Delivery, "POST", webhook_path(webhook_id, action))
