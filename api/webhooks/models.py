"""Tables of the webhooks: endpoints, and the outbox of what is to be delivered to them."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, Integer, Text
from sqlalchemy.orm import Mapped, mapped_column

from api.db import Base, UtcDateTime
from api.jobs.models import BigKey


class Webhook(Base):
    """A URL that wants to be told."""

    __tablename__ = "webhooks"
    __table_args__ = (Index("ix_webhooks_list", "project", "pk"),)

    pk: Mapped[int] = mapped_column(BigKey, primary_key=True)
    id: Mapped[str] = mapped_column(Text, unique=True)
    project: Mapped[str] = mapped_column(Text)
    url: Mapped[str] = mapped_column(Text)
    description: Mapped[str] = mapped_column(Text)
    events: Mapped[str | None] = mapped_column(Text)
    """Types of events that are wanted, separated by spaces; null: all."""
    job: Mapped[str | None] = mapped_column(Text)
    """Only events of this job; null: of all jobs and sweeps of the project."""
    enabled: Mapped[bool]
    secret: Mapped[str] = mapped_column(Text)
    """Signs deliveries, so it is stored as it is."""
    previous_secret: Mapped[str | None] = mapped_column(Text)
    """Signs too, until `previous_until`."""
    previous_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


class Delivery(Base):
    """A message for an endpoint, written in the transaction of the change that it tells of."""

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        CheckConstraint("state IN ('pending', 'succeeded', 'failed')", name="ck_webhook_deliveries_state"),
        Index("ix_webhook_deliveries_due", "state", "next_attempt_at"),
        Index("ix_webhook_deliveries_list", "webhook", "pk"),
    )

    pk: Mapped[int] = mapped_column(BigKey, primary_key=True)
    id: Mapped[str] = mapped_column(Text, unique=True)
    webhook: Mapped[int] = mapped_column(ForeignKey("webhooks.pk", ondelete="CASCADE"))
    type: Mapped[str] = mapped_column(Text)
    payload: Mapped[str] = mapped_column(Text)
    """The body, byte for byte, of every attempt."""
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)

    state: Mapped[str] = mapped_column(Text)
    attempts: Mapped[int] = mapped_column(Integer)
    """Attempts begun. It only grows, so it is the fence between two senders of one delivery."""
    attempt_limit: Mapped[int] = mapped_column(Integer)
    """Attempts after which it is given up."""
    next_attempt_at: Mapped[datetime] = mapped_column(UtcDateTime)
    claimed_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    """A sender holds it until then, or until it has recorded what came of it."""
    last_attempt_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    response_status: Mapped[int | None] = mapped_column(Integer)
    error: Mapped[str | None] = mapped_column(Text)
    delivered_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
