"""Webhooks: their registration on a server, and `verify` for whoever receives them.

event = cpt_client.webhooks.verify(body, headers, secret)
if event.type == "job.succeeded":
    print(event.data["id"])
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import AwareDatetime, ValidationError
from standardwebhooks import Webhook as Signer
from standardwebhooks import WebhookVerificationError

from cpt_client.models import Resource


class SignatureError(ValueError):
    """A request that is not what this server signed, or too old; answer it with 400 and do nothing."""


class WebhookEvent(Resource):
    """What a server tells. It may come more than once and not in order: go by `id` and `timestamp`."""

    id: str
    """The same however often it comes."""
    type: str
    """What happened, such as `job.succeeded`, `sweep.finished` or `ping`."""
    timestamp: AwareDatetime
    """When it happened."""
    data: dict[str, Any]
    """What it happened to: `object`, `id`, `state`, …"""


def verify(body: bytes | str, headers: Mapping[str, str], secret: str | Sequence[str]) -> WebhookEvent:
    """The event in a request, if the server signed it with this secret within the last 5 minutes.

    Args:
        body: the request's body, byte for byte as it came.
        headers: the request's headers, in any case.
        secret: `whsec_…`, or several of them, of which one must fit.

    Raises:
        SignatureError: the signature is missing, wrong or too old.
    """
    lowered = {name.lower(): value for name, value in headers.items()}
    for candidate in [secret] if isinstance(secret, str) else secret:
        try:
            Signer(candidate).verify(body, lowered, json_parse=False)
            return WebhookEvent.model_validate_json(body)
        except ValidationError as error:
            raise SignatureError("the body is signed, but is no event of a CPT server") from error
        except (WebhookVerificationError, ValueError) as error:  # ValueError: a header that cannot be parsed
            reason = str(error)
    raise SignatureError(f"not signed with this secret, or too old: {reason}")


class Webhook(Resource):
    """A URL to which events are sent."""

    id: str
    """`webhook_…`."""
    url: str
    """Where events are sent."""
    events: list[str] | None = None
    """Types of events that are wanted; null: all."""
    job: str | None = None
    """Only events of this job; null: of the whole project."""
    description: str = ""
    """For people."""
    enabled: bool = True
    """Whether anything is sent."""
    created_at: AwareDatetime
    """When it was made."""
    secret: str | None = None
    """`whsec_…`: only in the answer that makes or rotates it."""


class Delivery(Resource):
    """An event for one webhook, and how its delivery goes."""

    id: str
    """`delivery_…`."""
    type: str
    """What it tells."""
    state: str
    """pending, succeeded or failed."""
    attempts: int
    """How often it was sent."""
    next_attempt_at: AwareDatetime | None = None
    """When it is sent next."""
    response_status: int | None = None
    """HTTP status of the latest answer."""
    error: str | None = None
    """Why the latest attempt came to nothing."""
    created_at: AwareDatetime
    """When the event happened."""
    delivered_at: AwareDatetime | None = None
    """When the receiver took it."""
