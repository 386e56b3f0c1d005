"""Tables of the logs."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, ForeignKeyConstraint, Integer, LargeBinary
from sqlalchemy.orm import Mapped, mapped_column

from api.db import Base, UtcDateTime


class Log(Base):
    """The output of one rank of one attempt; rank -1 is the launcher."""

    __tablename__ = "logs"

    job: Mapped[int] = mapped_column(ForeignKey("jobs.pk", ondelete="CASCADE"), primary_key=True)
    attempt: Mapped[int] = mapped_column(Integer, primary_key=True)
    rank: Mapped[int] = mapped_column(Integer, primary_key=True)
    size: Mapped[int] = mapped_column(BigInteger)
    """Bytes printed so far."""
    gap_start: Mapped[int | None] = mapped_column(BigInteger)
    """First byte that was left out, because the output is too long; null: all is here."""
    gap_stop: Mapped[int | None] = mapped_column(BigInteger)
    """First byte behind those that were left out."""
    changed_at: Mapped[datetime] = mapped_column(UtcDateTime)
    """When it last grew."""
    artifact: Mapped[int | None] = mapped_column(ForeignKey("artifacts.pk", ondelete="CASCADE"), index=True)
    """The file that it has become; null: it is in blocks."""


class LogBlock(Base):
    """A piece of a log, of `BLOCK_BYTES` but for the last one and those beside a gap."""

    __tablename__ = "log_blocks"
    __table_args__ = (
        ForeignKeyConstraint(["job", "attempt", "rank"], ["logs.job", "logs.attempt", "logs.rank"], ondelete="CASCADE"),
    )

    job: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    attempt: Mapped[int] = mapped_column(Integer, primary_key=True)
    rank: Mapped[int] = mapped_column(Integer, primary_key=True)
    start: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    """Its first byte's place in the output."""
    stop: Mapped[int] = mapped_column(BigInteger)
    """The place behind its last byte."""
    data: Mapped[bytes] = mapped_column(LargeBinary)
