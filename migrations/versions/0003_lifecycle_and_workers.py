"""Deadlines, origins and archiving of jobs; labels; what is left of deleted jobs; workers."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

BIG_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

COLUMNS: dict[str, sa.types.TypeEngine[Any]] = {
    "queue_timeout": sa.Double(),
    "retry_of": sa.Text(),
    "clone_of": sa.Text(),
    "queued_at": sa.DateTime(timezone=True),
    "queue_deadline": sa.DateTime(timezone=True),
    "archived_at": sa.DateTime(timezone=True),
    "checkpoint_of": sa.Text(),
}
INDEXED = ("queue_deadline", "checkpoint_of")


def upgrade() -> None:
    """Add columns and tables."""
    for name, kind in COLUMNS.items():
        op.add_column("jobs", sa.Column(name, kind, nullable=True))
    op.execute("UPDATE jobs SET queued_at = created_at WHERE state = 'queued'")
    for name in INDEXED:
        op.create_index(f"ix_jobs_{name}", "jobs", [name], unique=False)
    op.create_table(
        "job_labels",
        sa.Column("job", BIG_KEY, nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["job"], ["jobs.pk"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job", "label"),
    )
    op.create_table(
        "deleted_jobs",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("files_deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "workers",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("queues", sa.Text(), nullable=False),
        sa.Column("labels", sa.Text(), nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("slots", sa.Integer(), nullable=False),
        sa.Column("devices", sa.Integer(), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )


def downgrade() -> None:
    """Drop columns and tables."""
    op.drop_table("workers")
    op.drop_table("deleted_jobs")
    op.drop_table("job_labels")
    for name in INDEXED:
        op.drop_index(f"ix_jobs_{name}", "jobs")
    for name in reversed(COLUMNS):
        op.drop_column("jobs", name)
