"""The table of API keys."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, Integer, Text
from sqlalchemy.orm import Mapped, mapped_column

from api.db import Base, UtcDateTime
from api.jobs.models import BigKey
from api.keys.schemas import Scope


class ApiKey(Base):
    """One key, without its secret."""

    __tablename__ = "api_keys"
    __table_args__ = (
        CheckConstraint(f"scope IN ({', '.join(repr(str(scope)) for scope in Scope)})", name="ck_api_keys_scope"),
        Index("ix_api_keys_list", "project", "pk"),
    )

    pk: Mapped[int] = mapped_column(BigKey, primary_key=True)
    id: Mapped[str] = mapped_column(Text, unique=True)
    project: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    name: Mapped[str] = mapped_column(Text)
    digest: Mapped[str] = mapped_column(Text)
    """SHA-256 of the whole key, in hex. A slow hash is for passwords: 256 random bits cannot be guessed."""
    scope: Mapped[str] = mapped_column(Text)
    requests_per_minute: Mapped[int | None] = mapped_column(Integer)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    expires_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    revoked_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    last_used_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
