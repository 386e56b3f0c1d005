# Made from cpt_client/aio/sweeps.py by tools/sync_client.py: change it there, then `make generated`.
"""The sweeps of a server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cpt_client.connection import document, known, once, sweep_path
from cpt_client.sweeps import Sweep, SweepResults
from cpt_client.sync.connection import Connection
from cpt_core.spec import JobSpec


class Sweeps:
    """Many jobs out of one base spec: `client.sweeps`. Every method raises `CptError` when its request fails."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def create(
        self,
        spec: JobSpec | Mapping[str, Any],
        *,
        grid: Mapping[str, Sequence[Any]] | None = None,
        overrides: Sequence[Mapping[str, Any]] = (),
        name: str | None = None,
        idempotency_key: str | None = None,
    ) -> Sweep:
        """Submit a job for every one of the overrides with every point of the grid: all of them, or none.

        Args:
            spec: the base.
            grid: JSON pointer of a field to its values, such as `{"/training/seed": [0, 1, 2]}`.
            overrides: JSON merge patches of the base, for what is no grid.
            name: a label.
            idempotency_key: chosen at random by default, so that the client's own repeats are safe.
        """
        body = {"spec": document(spec), "grid": dict(grid or {}), "overrides": [*overrides], **known(name=name)}
        return self._connection.ask(Sweep, "POST", "/v1/sweeps", json=body, headers=once(idempotency_key))

    def get(self, sweep_id: str) -> Sweep:
        """The sweep as it is now."""
        return self._connection.ask(Sweep, "GET", sweep_path(sweep_id))

    def list(self, *, limit: int | None = None, page_size: int = 100) -> Iterator[Sweep]:
        """Sweeps, newest first, fetched page by page as they are read."""
        return self._connection.pages(Sweep, "/v1/sweeps", {"limit": page_size}, limit=limit)

    def cancel(self, sweep_id: str) -> Sweep:
        """Ask to cancel all members that have not ended."""
        return self._connection.ask(Sweep, "POST", sweep_path(sweep_id, "/cancel"))

    def results(self, sweep_id: str) -> SweepResults:
        """What came of the members, the best first."""
        return self._connection.ask(SweepResults, "GET", sweep_path(sweep_id, "/results"))

    def results_csv(self, sweep_id: str) -> str:
        """The same as a table with a header, a line for each member."""
        path, headers = sweep_path(sweep_id, "/results"), {"Accept": "text/csv"}
        return (self._connection.request("GET", path, headers=headers)).text
