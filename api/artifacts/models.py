"""Table of the artifacts."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, Integer, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from api.db import Base, UtcDateTime
from api.jobs.models import BigKey


class Artifact(Base):
    """A file in the storage."""

    __tablename__ = "artifacts"
    __table_args__ = (UniqueConstraint("job", "name", name="uq_artifacts_name"),)

    pk: Mapped[int] = mapped_column(BigKey, primary_key=True)
    id: Mapped[str] = mapped_column(Text, unique=True)
    job: Mapped[int] = mapped_column(ForeignKey("jobs.pk", ondelete="CASCADE"))
    attempt: Mapped[int] = mapped_column(Integer)
    kind: Mapped[str] = mapped_column(Text)
    name: Mapped[str] = mapped_column(Text)
    path: Mapped[str] = mapped_column(Text)
    """Relative to the storage root."""
    media_type: Mapped[str] = mapped_column(Text)
    sha256: Mapped[str] = mapped_column(Text)
    size: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
