"""Alembic's environment: runs migrations on the database whose URL is in the configuration."""

from __future__ import annotations

from alembic import context

# The tables belong to the metadata that revisions are compared with.
import api.audit.models
import api.fleet.models
import api.jobs.models
import api.keys.models
import api.projects.models  # noqa: F401
from api.db import Base, make_engine

engine = make_engine(context.config.attributes["database_url"])
# SQLite: a writer from the start, see api.db
with engine.execution_options(cpt_write=True).connect() as connection:
    context.configure(connection=connection, target_metadata=Base.metadata, render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()
engine.dispose()
