"""Tables of the uploaded datasets, and of the jobs that train on them."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, Integer, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from api.db import Base, UtcDateTime
from api.jobs.models import BigKey


class DatasetRow(Base):
    """An uploaded archive in the storage."""

    __tablename__ = "datasets"
    __table_args__ = (UniqueConstraint("project", "name", name="uq_datasets_name"),)

    pk: Mapped[int] = mapped_column(BigKey, primary_key=True)
    id: Mapped[str] = mapped_column(Text, unique=True)
    project: Mapped[str] = mapped_column(Text)
    name: Mapped[str] = mapped_column(Text)
    path: Mapped[str] = mapped_column(Text)
    """Relative to the storage root."""
    sha256: Mapped[str] = mapped_column(Text)
    size: Mapped[int] = mapped_column(BigInteger)
    files: Mapped[int] = mapped_column(Integer)
    unpacked_size: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


class JobDataset(Base):
    """A job's spec names an uploaded dataset; what the name meant when the job was accepted."""

    __tablename__ = "job_datasets"

    job: Mapped[int] = mapped_column(ForeignKey("jobs.pk", ondelete="CASCADE"), primary_key=True)
    dataset: Mapped[int] = mapped_column(ForeignKey("datasets.pk", ondelete="CASCADE"), index=True)
