"""The table of workers, as they report themselves."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Integer, Text, false
from sqlalchemy.orm import Mapped, mapped_column

from api.db import Base, UtcDateTime


class Worker(Base):
    """A worker. Which jobs it has is asked of the jobs' own rows."""

    __tablename__ = "workers"

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    version: Mapped[str] = mapped_column(Text)
    queues: Mapped[str] = mapped_column(Text)
    """Names with commas between them, the first preferred."""
    labels: Mapped[str] = mapped_column(Text)
    """The same, sorted."""
    device: Mapped[str] = mapped_column(Text)
    slots: Mapped[int] = mapped_column(Integer)
    devices: Mapped[int] = mapped_column(Integer)
    gangs: Mapped[bool] = mapped_column(server_default=false())
    """Its slots can train a job together with others."""
    seen_at: Mapped[datetime] = mapped_column(UtcDateTime)
