"""The Python client of the API, synchronous.

with Client() as client:
    job = client.submit(spec)
    for event in client.stream(job.id):
        ...
    print(client.get(job.id).result)
"""

from __future__ import annotations

import ipaddress
import itertools
import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, Self, TypeVar
from urllib.parse import quote

import httpx

from cpt_client import files, streaming
from cpt_client.errors import CptError, from_response, unreachable
from cpt_client.models import (
    Artifact,
    Checkpoint,
    Dataset,
    Event,
    Job,
    Key,
    LogLine,
    NewKey,
    Page,
    Queue,
    Resource,
    Worker,
    parse,
    validate,
)
from cpt_client.retry import TRANSIENT, delays
from cpt_client.sweeps import Comparison, Sweeps
from cpt_client.webhooks import Webhooks
from cpt_core import __version__
from cpt_core.spec import JobSpec

Item = TypeVar("Item", bound=Resource)

UPLOAD_TIMEOUT = httpx.Timeout(600.0, connect=5.0)
"""The server checks the whole archive before it answers."""

DEFAULT_URL = "http://127.0.0.1:8000"
"""Where `cpt up` serves."""


class Client:
    """A connection to one CPT server. Close it, or use it in a `with` statement.

    Requests are repeated after a lost connection or a server that is briefly away; that is safe, since submitting
    carries an idempotency key and making an API key is not repeated. Every method raises `CptError` when its request
    comes to nothing.
    """

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
        self.base_url = (base_url or os.environ.get("CPT_URL") or DEFAULT_URL).rstrip("/")
        self._tries = tries
        try:
            url = httpx.URL(self.base_url)
        except httpx.InvalidURL as error:
            raise CptError("invalid_url", f"{self.base_url!r} is not a URL: {error}") from error
        if url.scheme not in ("http", "https") or not url.host:
            raise CptError("invalid_url", f"{self.base_url!r} is not an http:// or https:// URL")
        headers = {"User-Agent": f"cpt-client/{__version__}", "Accept": "application/json"}
        if key := (api_key or os.environ.get("CPT_API_KEY", "")).strip():
            if not (key.isascii() and key.isprintable()):
                raise CptError("invalid_key", "the API key has characters that no key has: copy it again")
            headers["Authorization"] = f"Bearer {key}"
        self._http = httpx.Client(
            base_url=url,
            timeout=httpx.Timeout(timeout, connect=5.0),
            headers=headers,
            trust_env=not _is_loopback(url.host),  # a proxy of the environment cannot reach this machine's own server
        )

        self.sweeps = Sweeps(self)
        """Many jobs out of one base spec."""
        self.webhooks = Webhooks(self)
        """URLs that are told what happens."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def submit(self, spec: JobSpec | Mapping[str, Any], *, idempotency_key: str | None = None) -> Job:
        """Submit a job. Repeating the call with the same key and spec answers the same job.

        Args:
            spec: what to train; only the fields that were set are sent, the server fills in the rest.
            idempotency_key: chosen at random by default, so that the client's own repeats are safe.
        """
        body = spec.model_dump(mode="json", exclude_unset=True) if isinstance(spec, JobSpec) else dict(spec)
        headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
        return parse(Job, self.request("POST", "/v1/jobs", json=body, headers=headers).content)

    def get(self, job_id: str) -> Job:
        """The job as it is now."""
        return parse(Job, self.request("GET", _path(job_id)).content)

    def list(
        self,
        *,
        states: Sequence[str] = (),
        queue: str | None = None,
        archived: bool = False,
        sweep: str | None = None,
        limit: int | None = None,
        page_size: int = 100,
    ) -> Iterator[Job]:
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
        return itertools.islice(self.pages(Job, "/v1/jobs", params), limit)

    def cancel(self, job_id: str) -> Job:
        """Ask to cancel the job. An active one is `cancelled` only when its processes are gone: watch it for that."""
        return self._act(job_id, "cancel")

    def pause(self, job_id: str) -> Job:
        """Ask the job to save a checkpoint and free its devices. An active one is `paused` once it has."""
        return self._act(job_id, "pause")

    def resume(self, job_id: str) -> Job:
        """Queue a paused job again, to go on from its last checkpoint."""
        return self._act(job_id, "resume")

    def retry(
        self,
        job_id: str,
        *,
        start: Literal["checkpoint", "start"] | None = None,
        idempotency_key: str | None = None,
    ) -> Job:
        """Try a failed or cancelled job again, as a new job.

        Args:
            job_id: the job.
            start: `checkpoint`: go on from its last checkpoint; `start`: from scratch; null: from the last checkpoint,
                if there is one.
            idempotency_key: repeating the call with it answers the same new job; chosen at random by default.
        """
        return self._make(job_id, "retry", {"from": start}, idempotency_key)

    def clone(
        self, job_id: str, overrides: Mapping[str, Any] | None = None, *, idempotency_key: str | None = None
    ) -> Job:
        """Submit the job's spec again as a new job.

        Args:
            job_id: the job.
            overrides: JSON merge patch for the spec: mappings are merged, None takes a field away.
            idempotency_key: repeating the call with it answers the same new job; chosen at random by default.
        """
        return self._make(job_id, "clone", {"overrides": dict(overrides or {})}, idempotency_key)

    def archive(self, job_id: str) -> Job:
        """Hide a job that has ended from lists."""
        return self._act(job_id, "archive")

    def unarchive(self, job_id: str) -> Job:
        """Show a job in lists again."""
        return self._act(job_id, "unarchive")

    def delete(self, job_id: str) -> None:
        """Delete a job that has ended, with its log and its checkpoints, for good."""
        self.request("DELETE", _path(job_id))

    def queues(self) -> Iterator[Queue]:
        """The queues in which jobs are, or from which a worker takes jobs, by name."""
        return self.pages(Queue, "/v1/queues", {})

    def workers(self) -> Iterator[Worker]:
        """The workers, by name."""
        return self.pages(Worker, "/v1/workers", {})

    def compare(self, *job_ids: str) -> Comparison:
        """Jobs side by side: quality, cost, energy, time, and of their specs only what differs."""
        return parse(Comparison, self.request("GET", "/v1/compare", params={"jobs": ",".join(job_ids)}).content)

    def compare_csv(self, *job_ids: str) -> str:
        """The same as a table with a header, a line for each job."""
        params = {"jobs": ",".join(job_ids)}
        return self.request("GET", "/v1/compare", params=params, headers={"Accept": "text/csv"}).text

    def events(self, job_id: str, *, after: int | None = None, page_size: int = 1000) -> Iterator[Event]:
        """What happened so far, in order, without the steps; `after` is an event's id."""
        return self.pages(Event, _path(job_id, "/events"), {"limit": page_size, "after": after}, "after")

    def metrics(self, job_id: str, *, after: int | None = None, page_size: int = 1000) -> Iterator[Event]:
        """The steps so far, in order; `after` is an event's id."""
        return self.pages(Event, _path(job_id, "/metrics"), {"limit": page_size, "after": after}, "after")

    def stream(
        self,
        job_id: str,
        *,
        after: int | None = None,
        patience: float = 300.0,
        on_disconnect: Callable[[CptError], None] | None = None,
    ) -> Iterator[Event]:
        """Every event of the job as it happens, until its last one. Blocks between events.

        A lost connection is taken up again where it was: no event is missed and none comes twice.

        Args:
            job_id: the job.
            after: id of the last event already seen; null: from the beginning.
            patience: seconds without a connection after which it gives up.
            on_disconnect: told each time the connection is lost or cannot be made.
        """
        return streaming.stream(
            self._http, _path(job_id, "/stream"), after=after, patience=patience, on_disconnect=on_disconnect
        )

    def logs(
        self,
        job_id: str,
        *,
        rank: int = 0,
        attempt: int | None = None,
        tail: int | None = None,
        follow: bool = False,
        patience: float = 300.0,
    ) -> Iterator[LogLine]:
        """What a rank printed, line by line. Blocks between lines while it follows, and ends with the job.

        Args:
            job_id: the job.
            rank: the rank; -1: the launcher, which starts the ranks.
            attempt: the attempt to begin with; null: the last that printed something.
            tail: only so many lines before the end; null: all.
            follow: go on with what is printed, in later attempts too.
            patience: seconds without a connection after which it gives up.
        """
        params: dict[str, Any] = {"rank": rank, "attempt": attempt, "tail": tail, "follow": follow}
        known = {name: value for name, value in params.items() if value is not None}
        return files.follow(self._http, _path(job_id, "/logs"), known, patience=patience)

    def checkpoints(self, job_id: str) -> Iterator[Checkpoint]:
        """The job's checkpoints that are kept, newest first."""
        return self.pages(Checkpoint, _path(job_id, "/checkpoints"), {})

    def artifacts(self, job_id: str) -> Iterator[Artifact]:
        """The job's files but for checkpoints, oldest first."""
        return self.pages(Artifact, _path(job_id, "/artifacts"), {})

    def download_weights(self, job_id: str, checkpoint_id: str, target: Path) -> str:
        """Write a checkpoint's weights to a safetensors file, verified, and return its SHA-256.

        Raises:
            OSError: the file cannot be written.
        """
        path = _path(job_id, f"/checkpoints/{quote(checkpoint_id, safe='')}/weights")
        return files.download(self._http, path, target, tries=self._tries)

    def download_artifact(self, job_id: str, artifact_id: str, target: Path) -> str:
        """Write an artifact to a file, verified, and return its SHA-256.

        Raises:
            OSError: the file cannot be written.
        """
        path = _path(job_id, f"/artifacts/{quote(artifact_id, safe='')}/content")
        return files.download(self._http, path, target, tries=self._tries)

    def upload_dataset(self, name: str, archive: Path) -> Dataset:
        """Upload a zip, tar or gzipped tar as a dataset. The same archive under the same name is the same dataset.

        Raises:
            OSError: the archive cannot be read.
        """
        with archive.open("rb") as content:
            headers = {"Content-Type": "application/octet-stream", "Content-Length": str(archive.stat().st_size)}
            try:
                response = self._http.post(
                    "/v1/datasets", params={"name": name}, content=content, headers=headers, timeout=UPLOAD_TIMEOUT
                )
            except httpx.TransportError as error:
                raise unreachable(self.base_url, error) from error
        if response.status_code >= 400:
            raise from_response(response)
        return parse(Dataset, response.content)

    def datasets(self) -> Iterator[Dataset]:
        """The uploaded datasets, newest first."""
        return self.pages(Dataset, "/v1/datasets", {})

    def delete_dataset(self, name: str) -> None:
        """Delete an uploaded dataset that no job needs any more."""
        self.request("DELETE", f"/v1/datasets/{quote(name, safe='')}")

    def create_key(
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
        return parse(NewKey, self.request("POST", "/v1/keys", tries=1, json=wanted).content)

    def keys(self, *, project: str | None = None) -> Iterator[Key]:
        """The project's API keys, newest first, the revoked ones too. Needs a key with scope admin."""
        return self.pages(Key, "/v1/keys", {"limit": 100, "project": project})

    def revoke_key(self, key_id: str) -> Key:
        """End an API key. Needs a key with scope admin."""
        return parse(Key, self.request("DELETE", f"/v1/keys/{quote(key_id, safe='')}").content)

    def _act(self, job_id: str, action: str) -> Job:
        return parse(Job, self.request("POST", _path(job_id, f"/{action}")).content)

    def _make(self, job_id: str, action: str, body: Mapping[str, Any], idempotency_key: str | None) -> Job:
        headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
        return parse(Job, self.request("POST", _path(job_id, f"/{action}"), json=body, headers=headers).content)

    def pages(self, kind: type[Item], path: str, params: Mapping[str, Any], cursor: str = "cursor") -> Iterator[Item]:
        """The items of a list, page by page as they are read; `cursor` is the parameter that takes `next_cursor`."""
        query = {name: value for name, value in params.items() if value is not None}
        while True:
            page = parse(Page, self.request("GET", path, params=query).content)
            for item in page.data:
                yield validate(kind, item)
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
        for tries_left in reversed(range(tries or self._tries)):
            wait = next(waits)
            try:
                response = self._http.request(method, path, **kwargs)
            except httpx.TransportError as error:
                failure = unreachable(self.base_url, error)
            else:
                if response.status_code < 400:
                    return response
                failure = from_response(response)
                if response.status_code not in TRANSIENT:
                    break
                wait = max(wait, _retry_after(response))
            if tries_left:
                time.sleep(wait)
        raise failure


def _path(job_id: str, action: str = "") -> str:
    return f"/v1/jobs/{quote(job_id, safe='')}{action}"


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _retry_after(response: httpx.Response) -> float:
    """Seconds the server asks to wait, at most 30; 0 when it does not say."""
    value = response.headers.get("Retry-After", "")
    return min(float(value), 30.0) if value.isdigit() else 0.0
