"""Database migrations, and what others ask of them."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from alembic.config import Config

FOLDER = Path(__file__).parent


def config(database_url: str) -> Config:
    """Alembic's configuration for a database."""
    from alembic.config import Config  # here, since a server needs no more of this package than `head_revision`

    found = Config()
    found.set_main_option("script_location", str(FOLDER))
    found.attributes["database_url"] = database_url
    return found


def upgrade(database_url: str, revision: str = "head") -> None:
    """Bring a database to a revision."""
    from alembic import command

    command.upgrade(config(database_url), revision)


@cache
def head_revision() -> str:
    """The revision that this code needs: revisions are numbered, and each file's name begins with its number."""
    return max(path.name for path in (FOLDER / "versions").glob("[0-9]*.py")).split("_")[0]
