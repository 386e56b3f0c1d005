"""Table of the checkpoints that are kept."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, Integer, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from api.db import Base, UtcDateTime
from api.jobs.models import BigKey


class CheckpointRow(Base):
    """A checkpoint in the storage."""

    __tablename__ = "checkpoints"
    __table_args__ = (UniqueConstraint("job", "path", name="uq_checkpoints_path"),)

    pk: Mapped[int] = mapped_column(BigKey, primary_key=True)
    id: Mapped[str] = mapped_column(Text, unique=True)
    job: Mapped[int] = mapped_column(ForeignKey("jobs.pk", ondelete="CASCADE"))
    attempt: Mapped[int] = mapped_column(Integer)
    kind: Mapped[str] = mapped_column(Text)
    """`regular`, or `best`: that of the best evaluation."""
    step: Mapped[int] = mapped_column(BigInteger)
    path: Mapped[str] = mapped_column(Text)
    """Folder, relative to the storage root."""
    sha256: Mapped[str] = mapped_column(Text)
    """Digest of the manifest."""
    size: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
