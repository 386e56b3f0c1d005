"""What both clients agree on before a request is sent: where the server is, who asks, and where things are."""

from __future__ import annotations

import ipaddress
import os
import uuid
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import httpx

from cpt_client.errors import CptError
from cpt_core import __version__
from cpt_core.spec import JobSpec

DEFAULT_URL = "http://127.0.0.1:8000"
"""Where `cpt up` serves."""

UPLOAD_TIMEOUT = httpx.Timeout(600.0, connect=5.0)
"""The server checks the whole archive before it answers."""


def settings(base_url: str | None, api_key: str | None, timeout: float) -> dict[str, Any]:
    """The arguments of an httpx client for the server.

    Args:
        base_url: address of the server; by default `CPT_URL` of the environment, or `DEFAULT_URL`.
        api_key: key to send; by default `CPT_API_KEY` of the environment, or none.
        timeout: seconds to wait for an answer.

    Raises:
        CptError: the address is no http or https URL, or the key has characters that no header may have.
    """
    address = (base_url or os.environ.get("CPT_URL") or DEFAULT_URL).rstrip("/")
    try:
        url = httpx.URL(address)
    except httpx.InvalidURL as error:
        raise CptError("invalid_url", f"{address!r} is not a URL: {error}") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise CptError("invalid_url", f"{address!r} is not an http:// or https:// URL")
    headers = {"User-Agent": f"cpt-client/{__version__}", "Accept": "application/json"}
    if key := (api_key or os.environ.get("CPT_API_KEY", "")).strip():
        if not (key.isascii() and key.isprintable()):
            raise CptError("invalid_key", "the API key has characters that no key has: copy it again")
        headers["Authorization"] = f"Bearer {key}"
    return {
        "base_url": address,
        "timeout": httpx.Timeout(timeout, connect=5.0),
        "headers": headers,
        "trust_env": not _is_loopback(url.host),  # a proxy of the environment cannot reach this machine's own server
    }


def document(spec: JobSpec | Mapping[str, Any]) -> dict[str, Any]:
    """A job spec as it is sent: only the fields that were set, the server fills in the rest."""
    return spec.model_dump(mode="json", exclude_unset=True) if isinstance(spec, JobSpec) else dict(spec)


def once(idempotency_key: str | None) -> dict[str, str]:
    """The header by which repeats of a request make one thing; the key is chosen at random where none is given."""
    return {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}


def known(**params: Any) -> dict[str, Any]:
    """The query parameters that were given."""
    return {name: value for name, value in params.items() if value is not None}


def steps(keys: Sequence[str], from_step: int, to_step: int | None) -> dict[str, Any]:
    """The query parameters that say which metrics of which steps."""
    return {"keys": [*keys], **known(from_step=from_step, to_step=to_step)}


def job_path(job_id: str, action: str = "") -> str:
    """Path of a job, or of what belongs to it."""
    return f"/v1/jobs/{quote(job_id, safe='')}{action}"


def sweep_path(sweep_id: str, action: str = "") -> str:
    """Path of a sweep, or of what belongs to it."""
    return f"/v1/sweeps/{quote(sweep_id, safe='')}{action}"


def webhook_path(webhook_id: str, action: str = "") -> str:
    """Path of a webhook, or of what belongs to it."""
    return f"/v1/webhooks/{quote(webhook_id, safe='')}{action}"


def retry_after(response: httpx.Response) -> float:
    """Seconds the server asks to wait, at most 30; 0 when it does not say."""
    value = response.headers.get("Retry-After", "")
    return min(float(value), 30.0) if value.isdigit() else 0.0


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
