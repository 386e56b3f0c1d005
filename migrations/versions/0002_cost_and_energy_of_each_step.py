"""Cost and energy of each step, beside their sums."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

COLUMNS = ("step_gbitops", "step_modelled_joules", "step_energy_joules")
"""Null for the steps that were stored before."""


def upgrade() -> None:
    """Add the columns."""
    for name in COLUMNS:
        op.add_column("metrics", sa.Column(name, sa.Double(), nullable=True))


def downgrade() -> None:
    """Drop the columns."""
    for name in reversed(COLUMNS):
        op.drop_column("metrics", name)
