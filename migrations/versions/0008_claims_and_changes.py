"""Indexes that find the first waiting job of each project, and the latest change of all jobs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Sort a queue's waiting jobs by project, and changes first of all by their stamp."""
    op.drop_index("ix_jobs_claim", table_name="jobs")
    op.create_index("ix_jobs_claim", "jobs", ["state", "queue", "project", sa.text("priority DESC"), "pk"])
    op.drop_index("ix_jobs_changed", table_name="jobs")
    op.create_index("ix_jobs_changed", "jobs", ["changed", "project"])


def downgrade() -> None:
    """Sort them as before."""
    op.drop_index("ix_jobs_changed", table_name="jobs")
    op.create_index("ix_jobs_changed", "jobs", ["project", "changed"])
    op.drop_index("ix_jobs_claim", table_name="jobs")
    op.create_index("ix_jobs_claim", "jobs", ["state", "queue", "priority", "pk"])
