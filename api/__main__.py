"""`python -m api`: serve, bring the database up to date, or make a key."""

from __future__ import annotations

import argparse
import gc
import logging
import sys
from collections.abc import Sequence

import uvicorn
from pydantic import ValidationError

from api.app import create_app
from api.audit import recorder
from api.db import Database
from api.keys import service as keys
from api.keys.schemas import NewKey, Scope
from api.problems import ApiError
from api.projects.repository import DEFAULT
from api.server import Server
from api.settings import ApiSettings, settings
from cpt_core import tracing
from cpt_core.logs import configure
from migrations import upgrade


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    arguments = _parser().parse_args(argv)
    try:
        found = settings()
    except ValidationError as error:
        for item in error.errors():
            name = "CPT_" + "_".join(str(part).upper() for part in item["loc"]) if item["loc"] else "settings"
            sys.stderr.write(f"{name}: {item['msg']}\n")
        return 2
    configure(found.log_format)
    match arguments.command:
        case "migrate":
            upgrade(found.database_url.get_secret_value())
            return 0
        case "create-key":
            return _create_key(found, arguments)
        case _:
            return _serve(found)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cpt api", description="The CPT Service API. Settings come from CPT_… variables."
    )
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("serve", help="serve requests (default)")
    commands.add_parser("migrate", help="bring the database to the current revision")
    key = commands.add_parser(
        "create-key", help="make an API key right in the database, such as the first one, and print it"
    )
    key.add_argument("name", help="label for people")
    key.add_argument("--scope", choices=[str(scope) for scope in Scope], default=str(Scope.OPERATOR))
    key.add_argument("--project", default=DEFAULT, help="project it belongs to (default: %(default)s)")
    return parser


def _create_key(found: ApiSettings, arguments: argparse.Namespace) -> int:
    """Print a new key, alone on stdout, so that a script can keep it."""
    database = Database(found.database_url.get_secret_value())
    recorder.attach(database)
    act = recorder.Act(action="create_key", project=arguments.project, actor="operator")
    try:
        with recorder.acting(act):
            _, key = keys.create(database, arguments.project, NewKey(name=arguments.name, scope=arguments.scope))
    except ValidationError as error:
        sys.stderr.write("".join(f"{item['loc'][0]}: {item['msg']}\n" for item in error.errors()))
        return 2
    except ApiError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    finally:
        database.close()
    sys.stdout.write(f"{key}\n")
    sys.stderr.write("This is shown once; only its SHA-256 is stored. Clients take it from CPT_API_KEY.\n")
    return 0


def _serve(found: ApiSettings) -> int:
    logging.getLogger("alembic").setLevel(logging.WARNING)  # it tells of every look at the revision, see /readyz
    tracing.start("cpt-api")
    app = create_app(found)
    gc.freeze()  # a full collection took 0.15 s, in which no stream moved: what has been loaded stays anyway
    config = uvicorn.Config(
        app,
        host=found.host,
        port=found.port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=3,  # for a client that takes its answer too slowly
        server_header=False,
    )
    Server(config, app.state.services.hub).run()
    tracing.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
