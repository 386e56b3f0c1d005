"""Extremes of the metrics over blocks of steps; stamps of changes to jobs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

# SQLite numbers rows by itself only for INTEGER PRIMARY KEY.
BIG_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the table and the columns. Attempts from before have no blocks: their steps are read instead."""
    op.create_table(
        "metric_blocks",
        sa.Column("job", BIG_KEY, nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("block", sa.Integer(), nullable=False),
        sa.Column("low", sa.Double(), nullable=False),
        sa.Column("low_step", sa.Integer(), nullable=False),
        sa.Column("high", sa.Double(), nullable=False),
        sa.Column("high_step", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["job"], ["jobs.pk"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job", "key", "attempt", "block"),
        sqlite_with_rowid=False,
    )
    op.add_column("jobs", sa.Column("changed", sa.BigInteger(), nullable=False, server_default=sa.text("0")))
    op.create_index("ix_jobs_changed", "jobs", ["project", "changed"])


def downgrade() -> None:
    """Drop the table and the columns."""
    op.drop_index("ix_jobs_changed", "jobs")
    op.drop_column("jobs", "changed")
    op.drop_table("metric_blocks")
