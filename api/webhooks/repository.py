"""All SQL of the webhooks aggregate."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, delete, func, or_, select
from sqlalchemy.orm import Session, aliased

from api.webhooks.models import Delivery, Webhook
from api.webhooks.schemas import DeliveryState


def get(session: Session, webhook_id: str, *, lock: bool = False) -> Webhook | None:
    """The webhook, locked against other writers if asked, but not against deliveries that are added."""
    query = select(Webhook).where(Webhook.id == webhook_id)
    return session.scalars(query.with_for_update(key_share=True) if lock else query).one_or_none()


def page(session: Session, project: str, *, before: str | None, limit: int) -> list[Webhook]:
    """Up to `limit` webhooks, newest first, older than the webhook `before`."""
    query = select(Webhook).where(Webhook.project == project).order_by(Webhook.pk.desc()).limit(limit)
    if before is not None:
        query = query.where(Webhook.pk < select(Webhook.pk).where(Webhook.id == before).scalar_subquery())
    return list(session.scalars(query))


def count(session: Session, project: str) -> int:
    """How many webhooks the project has."""
    return session.scalars(select(func.count()).where(Webhook.project == project)).one()


def remove(session: Session, webhook: Webhook) -> None:
    """Delete the webhook and its deliveries."""
    session.execute(delete(Webhook).where(Webhook.pk == webhook.pk))


def listening(session: Session, project: str) -> Sequence[Webhook]:
    """The enabled webhooks of a project, none of which is deleted before the transaction is over.

    They are asked for once in a transaction: one may change many jobs.
    """
    known: dict[str, Sequence[Webhook]] = session.info.setdefault("listening", {})
    if project not in known:
        query = select(Webhook).where(Webhook.project == project, Webhook.enabled)
        known[project] = session.scalars(query.with_for_update(read=True, key_share=True)).all()
    return known[project]


def delivery(session: Session, webhook: Webhook, delivery_id: str, *, lock: bool = False) -> Delivery | None:
    """One delivery of the webhook, locked against other writers if asked."""
    query = select(Delivery).where(Delivery.webhook == webhook.pk, Delivery.id == delivery_id)
    return session.scalars(query.with_for_update() if lock else query).one_or_none()


def deliveries(
    session: Session, webhook: Webhook, *, before: str | None, state: DeliveryState | None, limit: int
) -> list[Delivery]:
    """Up to `limit` deliveries of the webhook, newest first, older than the delivery `before`."""
    query = select(Delivery).where(Delivery.webhook == webhook.pk).order_by(Delivery.pk.desc()).limit(limit)
    if before is not None:
        query = query.where(Delivery.pk < select(Delivery.pk).where(Delivery.id == before).scalar_subquery())
    if state is not None:
        query = query.where(Delivery.state == state)
    return list(session.scalars(query))


def _due(at: datetime) -> ColumnElement[bool]:
    """A delivery whose time has come and whose webhook no sender is busy with.

    One at a time for each webhook: a receiver that hangs holds up itself alone, and order is kept as far as it can be.
    """
    other = aliased(Delivery)
    busy = select(other.pk).where(other.webhook == Delivery.webhook, other.claimed_until > at).exists()
    return (
        (Delivery.state == DeliveryState.PENDING)
        & (Delivery.next_attempt_at <= at)
        & or_(Delivery.claimed_until.is_(None), Delivery.claimed_until <= at)
        & Webhook.enabled
        & ~busy
    )


def is_any_due(session: Session, at: datetime) -> bool:
    """Whether there is something to send."""
    query = select(Delivery.pk).join(Webhook, Webhook.pk == Delivery.webhook).where(_due(at)).limit(1)
    return session.scalars(query).first() is not None


def next_due(session: Session, at: datetime) -> tuple[Delivery, Webhook] | None:
    """What is to be sent next, locked; deliveries that other senders are taking are passed over."""
    query = (
        select(Delivery, Webhook)
        .join(Webhook, Webhook.pk == Delivery.webhook)
        .where(_due(at))
        .order_by(Delivery.next_attempt_at, Delivery.pk)
        .limit(1)
        .with_for_update(of=Delivery, skip_locked=True)
    )
    row = session.execute(query).one_or_none()
    return (row[0], row[1]) if row else None


def prune(session: Session, before: datetime) -> None:
    """Delete the deliveries of events that happened before."""
    session.execute(delete(Delivery).where(Delivery.created_at < before))
