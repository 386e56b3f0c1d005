"""`python -m api`: serve, or bring the database up to date."""

from __future__ import annotations

import argparse
import logging
import sys

import uvicorn
from pydantic import ValidationError

from api.app import create_app
from api.settings import ApiSettings, settings
from migrations import upgrade


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="cpt api", description="The CPT Service API. Settings come from CPT_… variables."
    )
    parser.add_argument(
        "command",
        nargs="?",
        choices=["serve", "migrate"],
        default="serve",
        help="serve requests (default), or bring the database to the current revision",
    )
    command = parser.parse_args(argv).command
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        found = settings()
    except ValidationError as error:
        for item in error.errors():
            name = "CPT_" + "_".join(str(part).upper() for part in item["loc"]) if item["loc"] else "settings"
            sys.stderr.write(f"{name}: {item['msg']}\n")
        return 2
    return _migrate(found) if command == "migrate" else _serve(found)


def _migrate(found: ApiSettings) -> int:
    upgrade(found.database_url.get_secret_value())
    return 0


def _serve(found: ApiSettings) -> int:
    logging.getLogger("alembic").setLevel(logging.WARNING)  # it tells of every look at the revision, see /readyz
    config = uvicorn.Config(
        create_app(found),
        host=found.host,
        port=found.port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=3,  # open streams would hold it for ever; their clients reconnect
        server_header=False,
    )
    uvicorn.Server(config).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
