"""HTTP for webhooks, and the description of what they are sent."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Query, Response

from api.deps import Admin, Reader, ServicesDep
from api.jobs.schemas import Page
from api.pages import page_of
from api.problems import documented
from api.webhooks import service
from api.webhooks.models import Delivery, Webhook
from api.webhooks.schemas import (
    DeliveryId,
    DeliveryState,
    DeliveryView,
    EventType,
    WebhookEvent,
    WebhookId,
    WebhookRequest,
    WebhookUpdate,
    WebhookView,
    WebhookWithSecret,
)

router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"])
events_router = APIRouter()

LimitParam = Annotated[int, Query(ge=1, le=100, description="Items at most.")]


def _view(hook: Webhook) -> WebhookView:
    return WebhookView(**_fields(hook))


def _with_secret(hook: Webhook) -> WebhookWithSecret:
    return WebhookWithSecret(secret=hook.secret, **_fields(hook))


def _fields(hook: Webhook) -> dict[str, object]:
    names = ("id", "url", "job", "description", "enabled", "created_at")
    events = None if hook.events is None else [EventType(name) for name in hook.events.split()]
    return {"events": events, **{name: getattr(hook, name) for name in names}}


def _delivery(row: Delivery) -> DeliveryView:
    return DeliveryView(
        id=row.id,
        type=EventType(row.type),
        state=DeliveryState(row.state),
        attempts=row.attempts,
        next_attempt_at=row.next_attempt_at if row.state == DeliveryState.PENDING else None,
        last_attempt_at=row.last_attempt_at,
        response_status=row.response_status,
        error=row.error,
        created_at=row.created_at,
        delivered_at=row.delivered_at,
        payload=WebhookEvent.model_validate_json(row.payload),
    )


@router.post("", status_code=201, responses=documented(400, 409, 413, 422))
def create_webhook(
    request: WebhookRequest, services: ServicesDep, caller: Admin, response: Response
) -> WebhookWithSecret:
    """Have events sent to a URL. The answer has the secret that signs them; it is not shown again."""
    service.check(request.url, services.targets)
    hook = service.create(services.database, caller.project, request)
    response.headers["Location"] = f"/v1/webhooks/{hook.id}"
    return _with_secret(hook)


@router.get("", responses=documented(422))
def list_webhooks(
    services: ServicesDep,
    caller: Reader,
    limit: LimitParam = 20,
    cursor: Annotated[WebhookId | None, Query(description="`next_cursor` of the page before.")] = None,
) -> Page[WebhookView]:
    """Webhooks, newest first."""
    found = service.page(services.database, caller.project, cursor=cursor, limit=limit)
    return page_of(found, limit, _view)


@router.get("/{webhook_id}", responses=documented(404, 422))
def get_webhook(webhook_id: WebhookId, services: ServicesDep, caller: Reader) -> WebhookView:
    """One webhook, without its secret."""
    return _view(service.get(services.database, caller.project, webhook_id))


@router.patch("/{webhook_id}", responses=documented(400, 404, 413, 422))
def update_webhook(webhook_id: WebhookId, request: WebhookUpdate, services: ServicesDep, caller: Admin) -> WebhookView:
    """Change a webhook: URL, events, description, or whether it is enabled."""
    service.check(request.url, services.targets)
    return _view(service.update(services.database, caller.project, webhook_id, request))


@router.delete("/{webhook_id}", status_code=204, responses=documented(404, 422))
def delete_webhook(webhook_id: WebhookId, services: ServicesDep, caller: Admin) -> None:
    """Remove a webhook, with its deliveries."""
    service.delete(services.database, caller.project, webhook_id)


@router.post("/{webhook_id}/rotate-secret", responses=documented(404, 422))
def rotate_webhook_secret(webhook_id: WebhookId, services: ServicesDep, caller: Admin) -> WebhookWithSecret:
    """Give a webhook a new secret, shown this once. For a day deliveries carry a signature of the old one as well."""
    return _with_secret(service.rotate(services.database, caller.project, webhook_id))


@router.post("/{webhook_id}/ping", status_code=202, responses=documented(404, 409, 422))
def ping_webhook(webhook_id: WebhookId, services: ServicesDep, caller: Admin) -> DeliveryView:
    """Send a test event, whatever events are wanted. Its delivery tells what came of it."""
    return _delivery(service.ping(services.database, caller.project, webhook_id))


@router.get("/{webhook_id}/deliveries", responses=documented(404, 422))
def list_webhook_deliveries(
    webhook_id: WebhookId,
    services: ServicesDep,
    caller: Reader,
    limit: LimitParam = 20,
    cursor: Annotated[DeliveryId | None, Query(description="`next_cursor` of the page before.")] = None,
    state: Annotated[DeliveryState | None, Query(description="Only deliveries in this state.")] = None,
) -> Page[DeliveryView]:
    """What was sent or waits to be, newest first; kept for 30 days."""
    found = service.deliveries(services.database, caller.project, webhook_id, cursor=cursor, state=state, limit=limit)
    return page_of(found, limit, _delivery)


@router.post("/{webhook_id}/deliveries/{delivery_id}/redeliver", status_code=202, responses=documented(404, 422))
def redeliver_webhook_delivery(
    webhook_id: WebhookId, delivery_id: DeliveryId, services: ServicesDep, caller: Admin
) -> DeliveryView:
    """Send a delivery again, now, with the same id."""
    return _delivery(service.redeliver(services.database, caller.project, webhook_id, delivery_id))


@events_router.post("event", status_code=204, tags=["webhooks"])
def event(
    body: WebhookEvent,
    webhook_id: Annotated[
        str, Header(alias="webhook-id", description="Id of the delivery, the same in every attempt.")
    ],
    webhook_timestamp: Annotated[int, Header(alias="webhook-timestamp", description="When it was sent, Unix seconds.")],
    webhook_signature: Annotated[
        str, Header(alias="webhook-signature", description="`v1,` and HMAC-SHA256 of `id.timestamp.body`, base64.")
    ],
) -> None:
    """What is sent to a webhook's URL, signed as Standard Webhooks say. Answer with a status from 200 to 299.

    Anything else, or no answer within 10 seconds, has it sent again: ten times in 10 to 20 hours.
    """
