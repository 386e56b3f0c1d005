"""The client: jobs, queues, workers, comparisons and keys."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal
from urllib.parse import quote

from cpt_client.aio import streaming
from cpt_client.aio.job import AsyncJob
from cpt_client.aio.stored import AsyncStored
from cpt_client.aio.sweeps import AsyncSweeps
from cpt_client.aio.webhooks import AsyncWebhooks
from cpt_client.connection import document, job_path, once, steps
from cpt_client.errors import CptError
from cpt_client.metrics import Metrics, Sampled
from cpt_client.models import Event, Key, NewKey, Queue, Worker, parse
from cpt_client.stack import Report
from cpt_client.sweeps import Comparison
from cpt_core.spec import JobSpec


class AsyncClient(AsyncStored):
    """A connection to one CPT server. Close it, or use it in a block of `async with`.

    Requests are repeated after a lost connection or a server that is briefly away; that is safe, since submitting
    carries an idempotency key and making an API key is not repeated. Every method raises `CptError` when its request
    comes to nothing.
    """

    def __init__(
        self, base_url: str | None = None, *, api_key: str | None = None, timeout: float = 30.0, tries: int = 4
    ) -> None:
        super().__init__(base_url, api_key=api_key, timeout=timeout, tries=tries)
        self.sweeps = AsyncSweeps(self)
        """Many jobs out of one base spec."""
        self.webhooks = AsyncWebhooks(self)
        """URLs that are told what happens."""

    async def submit(self, spec: JobSpec | Mapping[str, Any], *, idempotency_key: str | None = None) -> AsyncJob:
        """Submit a job. Repeating the call with the same key and spec answers the same job.

        Args:
            spec: what to train; only the fields that were set are sent, the server fills in the rest.
            idempotency_key: chosen at random by default, so that the client's own repeats are safe.
        """
        return await self.ask(AsyncJob, "POST", "/v1/jobs", json=document(spec), headers=once(idempotency_key))

    async def get(self, job_id: str) -> AsyncJob:
        """The job as it is now."""
        return await self.ask(AsyncJob, "GET", job_path(job_id))

    def list(
        self,
        *,
        states: Sequence[str] = (),
        queue: str | None = None,
        archived: bool = False,
        sweep: str | None = None,
        limit: int | None = None,
        page_size: int = 100,
    ) -> AsyncIterator[AsyncJob]:
        """Jobs, newest first, fetched page by page as they are read.

        Args:
            states: only jobs in one of these states; empty: in any.
            queue: only jobs of this queue.
            archived: the archived jobs, instead of the others.
            sweep: only members of this sweep.
            limit: how many at most; null: all.
            page_size: jobs per request.
        """
        if limit is not None:
            page_size = max(1, min(page_size, limit))
        params = {"limit": page_size, "state": [*states], "queue": queue, "archived": archived or None, "sweep": sweep}
        return self.pages(AsyncJob, "/v1/jobs", params, limit=limit)

    async def cancel(self, job_id: str) -> AsyncJob:
        """Ask to cancel the job. An active one is `cancelled` only when its processes are gone: watch it for that."""
        return await self.ask(AsyncJob, "POST", job_path(job_id, "/cancel"))

    async def pause(self, job_id: str) -> AsyncJob:
        """Ask the job to save a checkpoint and free its devices. An active one is `paused` once it has."""
        return await self.ask(AsyncJob, "POST", job_path(job_id, "/pause"))

    async def resume(self, job_id: str) -> AsyncJob:
        """Queue a paused job again, to go on from its last checkpoint."""
        return await self.ask(AsyncJob, "POST", job_path(job_id, "/resume"))

    async def retry(
        self,
        job_id: str,
        *,
        start: Literal["checkpoint", "start"] | None = None,
        idempotency_key: str | None = None,
    ) -> AsyncJob:
        """Try a failed or cancelled job again, as a new job.

        Args:
            job_id: the job.
            start: `checkpoint`: go on from its last checkpoint; `start`: from scratch; null: from the last checkpoint,
                if there is one.
            idempotency_key: repeating the call with it answers the same new job; chosen at random by default.
        """
        path, headers = job_path(job_id, "/retry"), once(idempotency_key)
        return await self.ask(AsyncJob, "POST", path, json={"from": start}, headers=headers)

    async def clone(
        self, job_id: str, overrides: Mapping[str, Any] | None = None, *, idempotency_key: str | None = None
    ) -> AsyncJob:
        """Submit the job's spec again as a new job.

        Args:
            job_id: the job.
            overrides: JSON merge patch for the spec: mappings are merged, None takes a field away.
            idempotency_key: repeating the call with it answers the same new job; chosen at random by default.
        """
        path, headers = job_path(job_id, "/clone"), once(idempotency_key)
        return await self.ask(AsyncJob, "POST", path, json={"overrides": dict(overrides or {})}, headers=headers)

    async def archive(self, job_id: str) -> AsyncJob:
        """Hide a job that has ended from lists."""
        return await self.ask(AsyncJob, "POST", job_path(job_id, "/archive"))

    async def unarchive(self, job_id: str) -> AsyncJob:
        """Show a job in lists again."""
        return await self.ask(AsyncJob, "POST", job_path(job_id, "/unarchive"))

    async def delete(self, job_id: str) -> None:
        """Delete a job that has ended, with its log and its checkpoints, for good."""
        await self.request("DELETE", job_path(job_id))

    def queues(self) -> AsyncIterator[Queue]:
        """The queues in which jobs are, or from which a worker takes jobs, by name."""
        return self.pages(Queue, "/v1/queues", {})

    def workers(self) -> AsyncIterator[Worker]:
        """The workers, by name."""
        return self.pages(Worker, "/v1/workers", {})

    async def compare(self, *job_ids: str) -> Comparison:
        """Jobs side by side: quality, cost, energy, time, and of their specs only what differs."""
        return await self.ask(Comparison, "GET", "/v1/compare", params={"jobs": ",".join(job_ids)})

    async def compare_csv(self, *job_ids: str) -> str:
        """The same as a table with a header, a line for each job."""
        params = {"jobs": ",".join(job_ids)}
        return (await self.request("GET", "/v1/compare", params=params, headers={"Accept": "text/csv"})).text

    async def doctor(self) -> Report:
        """How the server's parts do: database, broker, workers, storage. Needs a key with scope operator."""
        return await self.ask(Report, "GET", "/v1/doctor")

    def events(self, job_id: str, *, after: int | None = None, page_size: int = 1000) -> AsyncIterator[Event]:
        """What happened so far, in order, without the steps; `after` is an event's id."""
        return self.pages(Event, job_path(job_id, "/events"), {"limit": page_size, "after": after}, cursor="after")

    def metrics(
        self,
        job_id: str,
        keys: Sequence[str] = (),
        *,
        after: int | None = None,
        from_step: int = 0,
        to_step: int | None = None,
        page_size: int = 1000,
    ) -> AsyncIterator[Event]:
        """The steps so far, in order, as they are read.

        Args:
            job_id: the job.
            keys: metrics to read, such as `loss` and `forward_bits`; empty: all.
            after: only steps behind this event's id.
            from_step: the first step.
            to_step: the last step; null: the latest.
            page_size: steps per request.
        """
        params = {"limit": page_size, "after": after, **steps(keys, from_step, to_step)}
        return self.pages(Event, job_path(job_id, "/metrics"), params, cursor="after")

    async def metrics_table(
        self, job_id: str, keys: Sequence[str] = (), *, from_step: int = 0, to_step: int | None = None
    ) -> Metrics:
        """The steps so far as columns, read at once; the arguments are those of `metrics`."""
        path, params = job_path(job_id, "/metrics"), steps(keys, from_step, to_step)
        response = await self.request("GET", path, params=params, headers={"Accept": "application/x-ndjson"})
        return Metrics.of_lines(response.iter_lines(), keys)

    async def metrics_csv(
        self, job_id: str, keys: Sequence[str] = (), *, from_step: int = 0, to_step: int | None = None
    ) -> str:
        """The steps so far as a table with a header, a line for each; the arguments are those of `metrics`."""
        path, params = job_path(job_id, "/metrics"), steps(keys, from_step, to_step)
        return (await self.request("GET", path, params=params, headers={"Accept": "text/csv"})).text

    async def metrics_sample(
        self,
        job_id: str,
        keys: Sequence[str] = (),
        *,
        from_step: int = 0,
        to_step: int | None = None,
        max_points: int = 1000,
    ) -> Sampled:
        """The steps so far thinned out for a plot; the smallest and largest value of each stretch survive.

        `max_points` is how many points of each metric there are at most, 4 to 10,000; the other arguments are those of
        `metrics`.
        """
        params = {"max_points": max_points, **steps(keys, from_step, to_step)}
        return await self.ask(Sampled, "GET", job_path(job_id, "/metrics"), params=params)

    async def stream(
        self,
        job_id: str,
        *,
        after: int | None = None,
        types: Sequence[str] = (),
        patience: float = 300.0,
        on_disconnect: Callable[[CptError], None] | None = None,
    ) -> AsyncIterator[Event]:
        """Every event of the job as it happens, until its last one. Waits between events.

        A lost connection is taken up again where it was: no event is missed and none comes twice.

        Args:
            job_id: the job.
            after: id of the last event already seen; null: from the beginning.
            types: only events of these types, such as `state`; empty: all.
            patience: seconds without a connection after which it gives up.
            on_disconnect: told each time the connection is lost or cannot be made.
        """
        path, params = job_path(job_id, "/stream"), {"types": [*types]}
        async for message in streaming.stream(
            self.http, path, params, after=after, patience=patience, on_disconnect=on_disconnect
        ):
            yield parse(Event, message.data)

    async def changes(
        self,
        *,
        patience: float = 300.0,
        on_disconnect: Callable[[CptError], None] | None = None,
    ) -> AsyncIterator[AsyncJob | None]:
        """Each of the project's jobs whenever it has changed, without end; first None: from then on none is missed.

        Changes of a job in quick succession fall together. After a lost connection, which is taken up again, a job may
        come again.

        Args:
            patience: seconds without a connection after which it gives up.
            on_disconnect: told each time the connection is lost or cannot be made.
        """
        async for message in streaming.stream(
            self.http, "/v1/stream", {}, after=None, patience=patience, on_disconnect=on_disconnect
        ):
            yield parse(AsyncJob, message.data, self) if message.event == "job" else None

    async def create_key(
        self,
        name: str,
        *,
        scope: str = "submit",
        project: str | None = None,
        expires_at: datetime | None = None,
        requests_per_minute: int | None = None,
    ) -> NewKey:
        """Make an API key; only this answer ever has its secret. Needs a key with scope admin.

        Not repeated after a lost answer: a second key would be made, and the first one be nobody's.

        Args:
            name: label for people.
            scope: read, submit, admin or operator; each includes those before it.
            project: project it belongs to; null: the caller's. Another one needs scope operator.
            expires_at: when it ends; null: never.
            requests_per_minute: requests it may make; null: as many as its project.
        """
        wanted = {
            "name": name,
            "scope": scope,
            "project": project,
            "expires_at": expires_at.isoformat() if expires_at else None,
            "requests_per_minute": requests_per_minute,
        }
        return await self.ask(NewKey, "POST", "/v1/keys", tries=1, json=wanted)

    def keys(self, *, project: str | None = None) -> AsyncIterator[Key]:
        """The project's API keys, newest first, the revoked ones too. Needs a key with scope admin."""
        return self.pages(Key, "/v1/keys", {"limit": 100, "project": project})

    async def revoke_key(self, key_id: str) -> Key:
        """End an API key. Needs a key with scope admin."""
        return await self.ask(Key, "DELETE", f"/v1/keys/{quote(key_id, safe='')}")
