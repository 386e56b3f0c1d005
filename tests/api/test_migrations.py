"""The migrations make exactly the tables that the code uses, on both databases, and can be taken back."""

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect

import api.tables  # noqa: F401
from api.db import Base, make_engine
from migrations import config, head_revision, upgrade


def test_the_migrated_schema_is_the_models_schema(empty_database_url: str) -> None:
    upgrade(empty_database_url)
    engine = make_engine(empty_database_url)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    engine.dispose()


def test_the_newest_revision_is_told_by_the_names_of_the_files() -> None:
    assert head_revision() == ScriptDirectory.from_config(config("sqlite://")).get_current_head()


def test_every_migration_can_be_taken_back(empty_database_url: str) -> None:
    upgrade(empty_database_url)
    command.downgrade(config(empty_database_url), "base")
    engine = make_engine(empty_database_url)
    assert set(inspect(engine).get_table_names()) <= {"alembic_version"}
    engine.dispose()
