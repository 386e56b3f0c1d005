"""Alembic's environment: runs migrations on the database whose URL is in the configuration."""

from __future__ import annotations

from alembic import context

import api.tables  # noqa: F401  (they belong to the metadata that revisions are compared with)
from api.db import Base, make_engine

engine = make_engine(context.config.attributes["database_url"])
# SQLite: a writer from the start, see api.db
with engine.execution_options(cpt_write=True).connect() as connection:
    context.configure(connection=connection, target_metadata=Base.metadata, render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()
engine.dispose()
