"""Table of the sweeps. Their members are rows of `jobs`, whose column `sweep` names them."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, Index, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from api.db import Base, UtcDateTime
from api.jobs.models import BigKey


class Sweep(Base):
    """What was asked for. What became of it is read from the members' rows, so nothing here can drift from them."""

    __tablename__ = "sweeps"
    __table_args__ = (
        UniqueConstraint("project", "idempotency_key", name="uq_sweeps_idempotency"),
        Index("ix_sweeps_list", "project", "pk"),
    )

    pk: Mapped[int] = mapped_column(BigKey, primary_key=True)
    id: Mapped[str] = mapped_column(Text, unique=True)
    project: Mapped[str] = mapped_column(Text)
    name: Mapped[str] = mapped_column(Text)
    request: Mapped[str] = mapped_column(Text)
    """The base spec, grid and overrides as they came, JSON."""
    idempotency_key: Mapped[str | None] = mapped_column(Text)
    request_digest: Mapped[str] = mapped_column(Text)
    steps: Mapped[int] = mapped_column(BigInteger)
    """Optimiser steps of all members together; specs never change."""
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
