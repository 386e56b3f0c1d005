"""The table of projects."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, Integer, Text
from sqlalchemy.orm import Mapped, mapped_column

from api.db import Base, UtcDateTime


class Project(Base):
    """One project and its limits; a limit that is null is none."""

    __tablename__ = "projects"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    requests_per_minute: Mapped[int | None] = mapped_column(Integer)
    max_open_jobs: Mapped[int | None] = mapped_column(Integer)
    max_running_devices: Mapped[int | None] = mapped_column(Integer)
    max_steps: Mapped[int | None] = mapped_column(Integer)
    max_parameters: Mapped[int | None] = mapped_column(BigInteger)
    max_macs: Mapped[int | None] = mapped_column(BigInteger)
    max_dataset_bytes: Mapped[int | None] = mapped_column(BigInteger)
