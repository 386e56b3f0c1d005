"""Database migrations, and the two things others ask of them."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory


def config(database_url: str) -> Config:
    """Alembic's configuration for a database."""
    found = Config()
    found.set_main_option("script_location", str(Path(__file__).parent))
    found.attributes["database_url"] = database_url
    return found


def upgrade(database_url: str, revision: str = "head") -> None:
    """Bring a database to a revision."""
    command.upgrade(config(database_url), revision)


@cache
def head_revision() -> str | None:
    """The revision that this code needs."""
    return ScriptDirectory.from_config(config("")).get_current_head()
