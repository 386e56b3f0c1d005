"""Extremes of the metrics over blocks of steps, so that a long history is sampled without reading it."""

from __future__ import annotations

from sqlalchemy import ForeignKey, Integer, Text
from sqlalchemy.orm import Mapped, mapped_column

from api.db import Base

BLOCK = 128
"""Steps of a block. Block b of an attempt holds its steps from b * BLOCK up to (b + 1) * BLOCK."""


class MetricBlock(Base):
    """Smallest and largest value of one key over a whole block of one attempt, and the first steps that have them.

    Written in the transaction that stores the block's last step. Keys without a value in the block have no row.
    """

    __tablename__ = "metric_blocks"
    __table_args__ = {"sqlite_with_rowid": False}

    job: Mapped[int] = mapped_column(ForeignKey("jobs.pk", ondelete="CASCADE"), primary_key=True)
    key: Mapped[str] = mapped_column(Text, primary_key=True)
    attempt: Mapped[int] = mapped_column(Integer, primary_key=True)
    block: Mapped[int] = mapped_column(Integer, primary_key=True)
    low: Mapped[float]
    low_step: Mapped[int] = mapped_column(Integer)
    high: Mapped[float]
    high_step: Mapped[int] = mapped_column(Integer)
