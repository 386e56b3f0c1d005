"""An index that finds the first waiting job of each project."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Sort a queue's waiting jobs by project."""
    op.drop_index("ix_jobs_claim", table_name="jobs")
    op.create_index("ix_jobs_claim", "jobs", ["state", "queue", "project", sa.text("priority DESC"), "pk"])


def downgrade() -> None:
    """Sort them without regard to the project."""
    op.drop_index("ix_jobs_claim", table_name="jobs")
    op.create_index("ix_jobs_claim", "jobs", ["state", "queue", "priority", "pk"])
