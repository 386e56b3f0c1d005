# Made from cpt_client/aio/connection.py by tools/sync_client.py: change it there, then `make generated`.
"""Requests that are repeated where that may help, and lists that are read page by page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Self, TypeVar

import httpx
from pydantic import BaseModel

from cpt_client.connection import retry_after, settings
from cpt_client.errors import from_response, unreachable
from cpt_client.models import Page, parse, validate
from cpt_client.retry import TRANSIENT, delays
from cpt_client.sync.waiting import sleep

Item = TypeVar("Item", bound=BaseModel)


class Connection:
    """A connection to one CPT server. Close it, or use it in a block of `with`."""

    def __init__(
        self, base_url: str | None = None, *, api_key: str | None = None, timeout: float = 30.0, tries: int = 4
    ) -> None:
        """Prepare a client; nothing is sent yet.

        Args:
            base_url: address of the server; by default `CPT_URL` of the environment, or http://127.0.0.1:8000.
            api_key: key to send; by default `CPT_API_KEY` of the environment, or none, as for `cpt up`.
            timeout: seconds to wait for an answer.
            tries: how often a request is sent before it is given up.

        Raises:
            CptError: the address is no http or https URL, or the key has characters that no header may have.
        """
        wanted = settings(base_url, api_key, timeout)
        self.base_url: str = wanted["base_url"]
        self.tries = tries
        self.http = httpx.Client(**wanted)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self.http.close()

    def ask(self, kind: type[Item], method: str, path: str, **kwargs: Any) -> Item:
        """What the server answers, typed; the arguments are those of `request`."""
        response = self.request(method, path, **kwargs)
        return parse(kind, response.content, self)

    def pages(
        self,
        kind: type[Item],
        path: str,
        params: Mapping[str, Any],
        *,
        cursor: str = "cursor",
        limit: int | None = None,
    ) -> Iterator[Item]:
        """The items of a list, page by page as they are read.

        Args:
            kind: what they are.
            path: path of the list.
            params: query parameters; those that are None are not sent.
            cursor: the parameter that takes `next_cursor`.
            limit: how many at most; null: all.
        """
        query = {name: value for name, value in params.items() if value is not None}
        left = limit
        while left is None or left > 0:
            page = self.ask(Page, "GET", path, params=query)
            for item in page.data[:left]:
                yield validate(kind, item, self)
            if left is not None:
                left -= len(page.data)
            if not page.has_more:
                return
            query[cursor] = page.next_cursor

    def request(self, method: str, path: str, *, tries: int | None = None, **kwargs: Any) -> httpx.Response:
        """The answer with a status below 400, after repeats where the failure may pass.

        Args:
            method: HTTP method.
            path: path of the API.
            tries: how often it is sent at most; by default as the client was told.
            kwargs: as for `httpx.Client.request`.
        """
        waits = delays(0.2, 5.0)
        for tries_left in reversed(range(tries or self.tries)):
            wait = next(waits)
            try:
                response = self.http.request(method, path, **kwargs)
            except httpx.TransportError as error:
                failure = unreachable(self.base_url, error)
            else:
                if response.status_code < 400:
                    return response
                failure = from_response(response)
                if response.status_code not in TRANSIENT:
                    break
                wait = max(wait, retry_after(response))
            if tries_left:
                sleep(wait)
        raise failure
