"""The table of the audit log."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Index, Text
from sqlalchemy.orm import Mapped, mapped_column

from api.db import Base, UtcDateTime
from api.jobs.models import BigKey


class AuditEntry(Base):
    """One change. Rows are never altered, and deleted by age alone."""

    __tablename__ = "audit_entries"
    __table_args__ = (Index("ix_audit_entries_project", "project", "pk"),)

    pk: Mapped[int] = mapped_column(BigKey, primary_key=True)
    time: Mapped[datetime] = mapped_column(UtcDateTime)
    project: Mapped[str] = mapped_column(Text)
    actor: Mapped[str] = mapped_column(Text)
    key: Mapped[str | None] = mapped_column(Text)
    action: Mapped[str] = mapped_column(Text)
    object: Mapped[str | None] = mapped_column(Text)
    address: Mapped[str | None] = mapped_column(Text)
    request_id: Mapped[str | None] = mapped_column(Text)
