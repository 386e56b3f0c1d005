"""What clients can do with webhooks. Each function is one transaction."""

from __future__ import annotations

import base64
import secrets
from datetime import timedelta
from typing import Any

from pydantic import HttpUrl
from sqlalchemy.orm import Session

from api.db import Database
from api.jobs import repository as jobs
from api.pages import own, row_at
from api.problems import ApiError, FieldProblem, invalid
from api.webhooks import outbox, repository
from api.webhooks.models import Delivery, Webhook
from api.webhooks.outbox import MAX_ATTEMPTS
from api.webhooks.schemas import DeliveryState, EventType, PingEvent, WebhookRequest, WebhookUpdate
from api.webhooks.targets import TargetError, Targets
from cpt_core.events import now

MAX_WEBHOOKS = 50
"""Webhooks that a project may have: each is written to at every change of state."""

OVERLAP = timedelta(days=1)
"""How long a secret that was replaced signs beside the new one."""


def check(url: HttpUrl | None, targets: Targets) -> None:
    """Refuse a URL that nothing could be sent to. Looks its name up: not for a transaction.

    Raises:
        ApiError: it is refused.
    """
    if url is None:
        return
    try:
        if url.username or url.password or url.fragment:
            raise TargetError("must have no user, password or fragment: they would not be sent, or not be secret")
        targets.check(str(url))
    except TargetError as error:
        raise invalid(FieldProblem(pointer="/url", code="target_refused", message=str(error))) from error


def create(database: Database, project: str, request: WebhookRequest) -> Webhook:
    """A new webhook, with its secret.

    Raises:
        ApiError: there is no such job, or there are too many webhooks.
    """
    with database.write() as session:
        job = jobs.get(session, request.job) if request.job is not None else None
        if request.job is not None and (job is None or job.project != project):
            message = f"there is no job {request.job}"
            raise invalid(FieldProblem(pointer="/job", code="job_not_found", message=message))
        if repository.count(session, project) >= MAX_WEBHOOKS:
            message = f"the project has {MAX_WEBHOOKS} webhooks, which is the limit: delete one"
            raise ApiError(409, "too_many_webhooks", message)
        hook = Webhook(
            id=f"webhook_{secrets.token_hex(12)}",
            project=project,
            url=str(request.url),
            description=request.description,
            events=_joined(request.events),
            job=request.job,
            enabled=request.enabled,
            secret=_new_secret(),
            created_at=now(),
        )
        session.add(hook)
        return hook


def get(database: Database, project: str, webhook_id: str) -> Webhook:
    """One webhook.

    Raises:
        ApiError: there is no such webhook.
    """
    with database.read() as session:
        return _get(session, project, webhook_id)


def page(database: Database, project: str, *, cursor: str | None, limit: int) -> list[Webhook]:
    """One webhook more than `limit` if there are more.

    Raises:
        ApiError: the cursor is none of this list.
    """
    with database.read() as session:
        row_at(cursor, lambda key: own(repository.get(session, key), project))
        return repository.page(session, project, before=cursor, limit=limit + 1)


def update(database: Database, project: str, webhook_id: str, request: WebhookUpdate) -> Webhook:
    """Change a webhook.

    Raises:
        ApiError: there is no such webhook.
    """
    with database.write() as session:
        hook = _get(session, project, webhook_id, lock=True)
        changes: dict[str, Any] = {name: getattr(request, name) for name in request.model_fields_set}
        if "events" in changes:
            hook.events = _joined(changes.pop("events"))
        for name, value in changes.items():
            if value is not None:
                setattr(hook, name, str(value) if name == "url" else value)
        return hook


def delete(database: Database, project: str, webhook_id: str) -> None:
    """Remove a webhook, with its deliveries.

    Raises:
        ApiError: there is no such webhook.
    """
    with database.write() as session:
        repository.remove(session, _get(session, project, webhook_id, lock=True))


def rotate(database: Database, project: str, webhook_id: str) -> Webhook:
    """Give a webhook a new secret. The one before signs beside it for a day, so that no delivery is refused meanwhile.

    Raises:
        ApiError: there is no such webhook.
    """
    with database.write() as session:
        hook = _get(session, project, webhook_id, lock=True)
        hook.previous_secret, hook.previous_until = hook.secret, now() + OVERLAP
        hook.secret = _new_secret()
        return hook


def ping(database: Database, project: str, webhook_id: str) -> Delivery:
    """Send a test event, to a webhook that is enabled.

    Raises:
        ApiError: there is no such webhook, or it is disabled.
    """
    with database.write() as session:
        hook = _get(session, project, webhook_id, lock=True)
        if not hook.enabled:
            raise ApiError(409, "webhook_disabled", "the webhook is disabled, nothing is sent to it: enable it first")
        return outbox.put(session, [hook], EventType.PING, PingEvent(id=hook.id), now())[0]


def deliveries(
    database: Database, project: str, webhook_id: str, *, cursor: str | None, state: DeliveryState | None, limit: int
) -> list[Delivery]:
    """One delivery more than `limit` if there are more.

    Raises:
        ApiError: there is no such webhook, or the cursor is none of this list.
    """
    with database.read() as session:
        hook = _get(session, project, webhook_id)
        row_at(cursor, lambda key: repository.delivery(session, hook, key))
        return repository.deliveries(session, hook, before=cursor, state=state, limit=limit + 1)


def redeliver(database: Database, project: str, webhook_id: str, delivery_id: str) -> Delivery:
    """Send a delivery again, with the same id, now and as often as a new one.

    Raises:
        ApiError: there is no such webhook or delivery.
    """
    with database.write() as session:
        hook = _get(session, project, webhook_id)
        delivery = repository.delivery(session, hook, delivery_id, lock=True)
        if delivery is None:
            raise ApiError(404, "delivery_not_found", f"there is no delivery {delivery_id} of this webhook")
        delivery.state, delivery.next_attempt_at = DeliveryState.PENDING, now()
        delivery.attempt_limit = delivery.attempts + MAX_ATTEMPTS
        return delivery


def _get(session: Session, project: str, webhook_id: str, *, lock: bool = False) -> Webhook:
    """The one place where a webhook is looked up for a client: another project's webhook does not exist."""
    hook = repository.get(session, webhook_id, lock=lock)
    if hook is None or hook.project != project:
        raise ApiError(404, "webhook_not_found", f"there is no webhook {webhook_id}")
    return hook


def _joined(events: list[EventType] | None) -> str | None:
    return None if events is None else " ".join(dict.fromkeys(events))


def _new_secret() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
