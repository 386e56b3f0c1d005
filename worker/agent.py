"""The worker's side of the agent protocol: claim and append over HTTP, and what the API's answers mean.

Requests are made once; who calls decides about repeating them.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import ssl
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal
from urllib.parse import quote

import httpx
from pydantic import SecretStr, ValidationError

from cpt_core import tracing
from cpt_core.protocol import (
    AppendReply,
    Assignment,
    ClaimRequest,
    NodeFailure,
    NodeReply,
    NodeReport,
    WorkerReport,
)

_CLAIM_TIMEOUT = 10.0
_CONNECT_TIMEOUT = 5.0


@dataclass(frozen=True, slots=True)
class Stored:
    """All records up to `acked` are durable."""

    acked: int
    command: Literal["continue", "cancel", "pause"]
    failure: NodeFailure | None = None
    """What ended another node of the attempt."""


@dataclass(frozen=True, slots=True)
class Gap:
    """The API has the records up to `acked` and wants the next one first."""

    acked: int


@dataclass(frozen=True, slots=True)
class Lost:
    """The attempt no longer holds its job. `acked`: how far the API took its records, if it says so."""

    acked: int | None
    message: str


@dataclass(frozen=True, slots=True)
class Unavailable:
    """The API is there, but its database is not: keep the records, and try again."""

    message: str


@dataclass(frozen=True, slots=True)
class NoContact:
    """No answer that proves the API alive."""

    message: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The API will never take this: one of the two has a defect."""

    message: str


@dataclass(frozen=True, slots=True)
class Granted:
    """A job for the slot, and the trace that its attempt goes on with, if there is one."""

    assignment: Assignment
    traceparent: str | None


@dataclass(frozen=True, slots=True)
class Nothing:
    """No job waits for such a slot."""


@dataclass(frozen=True, slots=True)
class LogStored:
    """The API has so many bytes of the rank's output."""

    size: int


LogAnswer = LogStored | NoContact | Refused
AppendAnswer = Stored | Gap | Lost | Unavailable | NoContact | Refused
ClaimAnswer = Granted | Nothing | Unavailable | NoContact | Refused


class Agent:
    """Calls to one API. Thread-safe; one per worker or one per attempt."""

    def __init__(self, api_url: str, token: SecretStr) -> None:
        self._token = token
        url = httpx.URL(api_url)
        # A proxy of the environment cannot reach this machine's own API.
        trust_env = not _is_loopback(url.host)
        self._http = httpx.Client(base_url=url, trust_env=trust_env, verify=_authorities(trust_env))

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def claim(self, request: ClaimRequest) -> ClaimAnswer:
        """Ask for work."""
        try:
            response = self._post(
                "/v1/agent/claim", request.model_dump_json(), self._token, _CLAIM_TIMEOUT, **tracing.headers()
            )
        except httpx.HTTPError as error:
            return NoContact(_sentence(error))
        return claim_answer(response.status_code, response.content, response.headers.get(tracing.HEADER))

    def report(self, report: WorkerReport, *, timeout: float) -> NoContact | None:
        """Tell that this worker is there, or goes. None: the API knows."""
        try:
            response = self._post("/v1/agent/workers", report.model_dump_json(), self._token, timeout)
        except httpx.HTTPError as error:
            return NoContact(_sentence(error))
        if response.status_code == 204:
            return None
        return NoContact(_told(response.status_code, _problem(response.content)))

    def append(
        self, assignment: Assignment, first_seq: int, lines: tuple[bytes, ...], *, timeout: float
    ) -> AppendAnswer:
        """Deliver an attempt's records, each a JSON object, numbered from `first_seq` on; none: a heartbeat."""
        path = f"/v1/agent/jobs/{quote(assignment.job_id, safe='')}/attempts/{assignment.attempt}/records"
        body = b'{"first_seq":%d,"records":[%b]}' % (first_seq, b",".join(lines))
        try:
            response = self._post(path, body, SecretStr(assignment.token), timeout)
        except httpx.HTTPError as error:
            return NoContact(_sentence(error))
        return append_answer(response.status_code, response.content)

    def report_node(self, assignment: Assignment, failure: NodeFailure | None, *, timeout: float) -> AppendAnswer:
        """Tell that the node that this worker has of an attempt is there, or what ended its processes."""
        path = f"/v1/agent/jobs/{quote(assignment.job_id, safe='')}/attempts/{assignment.attempt}/nodes"
        body = NodeReport(failure=failure).model_dump_json()
        try:
            response = self._post(path, body, SecretStr(assignment.token), timeout)
        except httpx.HTTPError as error:
            return NoContact(_sentence(error))
        return node_answer(response.status_code, response.content)

    def put_log(self, assignment: Assignment, rank: int, offset: int, data: bytes, *, timeout: float) -> LogAnswer:
        """Deliver a piece of a rank's output, which begins at byte `offset` of it."""
        path = f"/v1/agent/jobs/{quote(assignment.job_id, safe='')}/attempts/{assignment.attempt}/logs/{rank}"
        try:
            response = self._send(
                "PUT",
                f"{path}?offset={offset}",
                data,
                SecretStr(assignment.token),
                timeout,
                content_type="application/octet-stream",
            )
        except httpx.HTTPError as error:
            return NoContact(_sentence(error))
        return log_answer(response.status_code, response.content)

    def _post(self, path: str, body: str | bytes, token: SecretStr, timeout: float, **headers: str) -> httpx.Response:
        return self._send("POST", path, body, token, timeout, content_type="application/json", **headers)

    def _send(
        self,
        method: str,
        path: str,
        body: str | bytes,
        token: SecretStr,
        timeout: float,
        *,
        content_type: str,
        **headers: str,
    ) -> httpx.Response:
        return self._http.request(
            method,
            path,
            content=body,
            headers={"authorization": f"Bearer {token.get_secret_value()}", "content-type": content_type, **headers},
            timeout=httpx.Timeout(timeout, connect=min(timeout, _CONNECT_TIMEOUT)),
        )


@cache
def _authorities(trust_env: bool) -> ssl.SSLContext:
    """What certificates are checked against. Loading it takes longer than a claim, so each attempt has the same."""
    return httpx.create_ssl_context(trust_env=trust_env)


def _is_loopback(host: str) -> bool:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def claim_answer(status: int, body: bytes, traceparent: str | None = None) -> ClaimAnswer:
    """What an answer to a claim means. `traceparent`: the header of that name."""
    if status == 200:
        try:
            return Granted(Assignment.model_validate_json(body), traceparent)
        except ValidationError as error:
            return Refused(f"the API's assignment does not fit this worker's version: {error}")
    if status == 204:
        return Nothing()
    problem = _problem(body)
    if status == 503 and problem.get("code") == "database_unavailable":
        return Unavailable(_told(status, problem))
    if "code" not in problem or _may_pass(status):
        return NoContact(_told(status, problem))
    return Refused(_told(status, problem))


def append_answer(status: int, body: bytes) -> AppendAnswer:
    """What an answer to an append means."""
    if status == 200:
        try:
            reply = AppendReply.model_validate_json(body)
        except ValidationError:
            return NoContact("something answers in the API's place: its reply is no acknowledgement")
        return Stored(reply.acked, reply.command, reply.failure)
    return _not_stored(status, body)


def node_answer(status: int, body: bytes) -> AppendAnswer:
    """What an answer to a node's report means."""
    if status == 200:
        try:
            return Stored(0, NodeReply.model_validate_json(body).command)
        except ValidationError:
            return NoContact("something answers in the API's place: its reply is none to a node")
    return _not_stored(status, body)


def _not_stored(status: int, body: bytes) -> AppendAnswer:
    problem = _problem(body)
    code, told = problem.get("code"), _told(status, problem)
    acked = problem.get("acked")
    if status == 409 and code == "sequence_gap" and isinstance(acked, int):
        return Gap(acked)
    if status == 503 and code == "database_unavailable":
        return Unavailable(told)
    if "code" not in problem or _may_pass(status):
        return NoContact(told)
    if status in (400, 413, 422):
        return Refused(told)
    # 409 stale_attempt; or 401, 403, 404: the API does not know this attempt.
    return Lost(acked if isinstance(acked, int) else None, told)


def log_answer(status: int, body: bytes) -> LogAnswer:
    """What an answer to a piece of a rank's output means."""
    problem = _problem(body)
    size = problem.get("size")
    if isinstance(size, int) and (status == 200 or (status == 409 and problem.get("code") == "log_gap")):
        return LogStored(size)
    if status == 200 or "code" not in problem or _may_pass(status):
        return NoContact(_told(status, problem))
    return Refused(_told(status, problem))


def _may_pass(status: int) -> bool:
    """An overload or a crash. (Without the API's `code` the answer is a proxy's, whatever its status.)"""
    return status >= 500 or status in (408, 425, 429)


def _problem(body: bytes) -> dict[str, Any]:
    """The members of an RFC 9457 problem; empty if the body is none."""
    with contextlib.suppress(ValueError):
        document = json.loads(body)
        if isinstance(document, dict):
            return document
    return {}


def _told(status: int, problem: dict[str, Any]) -> str:
    parts = [str(problem[key]) for key in ("title", "detail") if problem.get(key)]
    parts += [
        f"{item.get('pointer', '')}: {item.get('message', item.get('detail', ''))}"
        for item in problem.get("errors") or []
        if isinstance(item, dict)
    ][:5]
    return f"the API answered {status}" + (": " + "; ".join(parts) if parts else "")


def _sentence(error: Exception) -> str:
    return f"no answer from the API: {error or type(error).__name__}"
