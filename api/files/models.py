"""Table of the files that are to be deleted."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Text
from sqlalchemy.orm import Mapped, mapped_column

from api.db import Base, UtcDateTime
from api.jobs.models import BigKey


class FileDeletion(Base):
    """A file or folder of the storage that no row refers to any more."""

    __tablename__ = "file_deletions"

    pk: Mapped[int] = mapped_column(BigKey, primary_key=True)
    path: Mapped[str] = mapped_column(Text)
    """Relative to the storage root."""
    due_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)
    """Not before then."""
