"""Jobs that several workers train together."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

# SQLite numbers rows by itself only for INTEGER PRIMARY KEY.
BIG_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add them; an API of the release before goes on without."""
    op.add_column("jobs", sa.Column("nodes", sa.Integer(), server_default=sa.text("1"), nullable=False))
    op.add_column("attempts", sa.Column("endpoint", sa.Text(), nullable=True))
    op.add_column("workers", sa.Column("gangs", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.create_table(
        "nodes",
        sa.Column("job", BIG_KEY, autoincrement=False, nullable=False),
        sa.Column("attempt", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("node", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("worker", sa.Text(), nullable=True),
        sa.Column("claim_id", sa.Text(), nullable=True),
        sa.Column("token_hash", sa.Text(), nullable=True),
        sa.Column("beat", sa.BigInteger(), nullable=False),
        sa.Column("failure", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["job", "attempt"], ["attempts.job", "attempts.attempt"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job", "attempt", "node"),
        sa.UniqueConstraint("claim_id"),
    )


def downgrade() -> None:
    """Drop them."""
    op.drop_table("nodes")
    op.drop_column("workers", "gangs")
    op.drop_column("attempts", "endpoint")
    op.drop_column("jobs", "nodes")
