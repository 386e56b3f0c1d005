"""Files: checkpoints, artifacts, logs, datasets, and what is to be deleted."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

# SQLite numbers rows by itself only for INTEGER PRIMARY KEY.
BIG_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "file_deletions",
        sa.Column("pk", BIG_KEY, primary_key=True),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("due_at", TIME, nullable=False),
    )
    op.create_index("ix_file_deletions_due_at", "file_deletions", ["due_at"])
    op.create_table(
        "checkpoints",
        sa.Column("pk", BIG_KEY, primary_key=True),
        sa.Column("id", sa.Text(), nullable=False, unique=True),
        sa.Column("job", BIG_KEY, sa.ForeignKey("jobs.pk", ondelete="CASCADE"), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.UniqueConstraint("job", "path", name="uq_checkpoints_path"),
    )
    op.create_table(
        "artifacts",
        sa.Column("pk", BIG_KEY, primary_key=True),
        sa.Column("id", sa.Text(), nullable=False, unique=True),
        sa.Column("job", BIG_KEY, sa.ForeignKey("jobs.pk", ondelete="CASCADE"), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("media_type", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.UniqueConstraint("job", "name", name="uq_artifacts_name"),
    )
    op.create_table(
        "logs",
        sa.Column("job", BIG_KEY, sa.ForeignKey("jobs.pk", ondelete="CASCADE"), primary_key=True),
        sa.Column("attempt", sa.Integer(), primary_key=True),
        sa.Column("rank", sa.Integer(), primary_key=True),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("gap_start", sa.BigInteger(), nullable=True),
        sa.Column("gap_stop", sa.BigInteger(), nullable=True),
        sa.Column("changed_at", TIME, nullable=False),
        sa.Column("artifact", BIG_KEY, sa.ForeignKey("artifacts.pk", ondelete="CASCADE"), nullable=True),
    )
    op.create_index("ix_logs_artifact", "logs", ["artifact"])
    op.create_table(
        "log_blocks",
        sa.Column("job", sa.BigInteger(), primary_key=True),
        sa.Column("attempt", sa.Integer(), primary_key=True),
        sa.Column("rank", sa.Integer(), primary_key=True),
        sa.Column("start", sa.BigInteger(), primary_key=True),
        sa.Column("stop", sa.BigInteger(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["job", "attempt", "rank"], ["logs.job", "logs.attempt", "logs.rank"], ondelete="CASCADE"
        ),
    )
    op.create_table(
        "datasets",
        sa.Column("pk", BIG_KEY, primary_key=True),
        sa.Column("id", sa.Text(), nullable=False, unique=True),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("files", sa.Integer(), nullable=False),
        sa.Column("unpacked_size", sa.BigInteger(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.UniqueConstraint("project", "name", name="uq_datasets_name"),
    )
    op.create_table(
        "job_datasets",
        sa.Column("job", BIG_KEY, sa.ForeignKey("jobs.pk", ondelete="CASCADE"), primary_key=True),
        sa.Column("dataset", BIG_KEY, sa.ForeignKey("datasets.pk", ondelete="CASCADE"), nullable=False),
    )
    op.create_index("ix_job_datasets_dataset", "job_datasets", ["dataset"])


def downgrade() -> None:
    """Drop the tables."""
    for name in ("job_datasets", "datasets", "log_blocks", "logs", "artifacts", "checkpoints", "file_deletions"):
        op.drop_table(name)
