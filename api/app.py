"""The application: its parts, its routes, and what runs beside them."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from alembic.runtime.migration import MigrationContext
from fastapi import Depends, FastAPI
from pydantic import BaseModel

from api import problems
from api.agent.endpoints import router as agent_router
from api.background import Deadlines, Reaper, Sweeper, Ticker
from api.broker import Bells
from api.db import Database
from api.deps import Services, ServicesDep
from api.fleet.endpoints import router as fleet_router
from api.hub import Hub
from api.jobs.actions import router as actions_router
from api.jobs.endpoints import router as jobs_router
from api.limits import BodyLimits
from api.problems import ApiError, documented
from api.settings import ApiSettings
from cpt_core import __version__
from migrations import head_revision

logger = logging.getLogger(__name__)

DESCRIPTION = """
Trains neural networks with Cyclic Precision Training: submit a spec, follow bit width, loss, cost and energy.

Errors are RFC 9457 problem documents with a stable `code`, and `errors` that name the fields by JSON pointer.
"""


class Health(BaseModel):
    """The process answers."""

    status: str = "ok"


def create_app(settings: ApiSettings) -> FastAPI:
    """The application on these settings. Connections are made when it starts."""
    database = Database(settings.database_url.get_secret_value())
    broker_url = settings.broker_url.get_secret_value()
    services = Services(settings, database, Bells(broker_url), Hub(broker_url))

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        interval = min(1.0, settings.lease_seconds / 10)
        reaper = Reaper(database, settings.lease_seconds, interval, services.changed)
        sweeper = Sweeper(database, services.bells)
        deadlines = Deadlines(database, services.changed)
        tickers = [
            Ticker("reaper", interval, reaper.tick),
            Ticker("sweeper", settings.sweep_seconds, sweeper.tick),
            Ticker("deadlines", settings.sweep_seconds, deadlines.tick),
        ]
        services.bells.start()
        services.hub.start()
        for ticker in tickers:
            ticker.start()
        yield
        for ticker in tickers:
            ticker.stop()
        await services.hub.stop()
        services.bells.stop()
        database.close()

    app = FastAPI(title="CPT Service", version=__version__, description=DESCRIPTION, lifespan=lifespan)
    app.state.services = services
    app.include_router(jobs_router)
    app.include_router(actions_router)
    app.include_router(fleet_router)
    app.include_router(agent_router)
    problems.install(app)
    app.add_middleware(
        BodyLimits,
        max_bytes=settings.max_body_bytes,
        max_agent_bytes=settings.max_append_bytes,
        max_depth=settings.max_json_depth,
    )

    @app.get("/healthz", tags=["health"])
    def health() -> Health:
        """The process is alive."""
        return Health()

    @app.get("/readyz", tags=["health"], responses=documented())
    def ready(revision: Annotated[str | None, Depends(database_revision)]) -> Health:
        """The process can do its work: the database answers and is migrated."""
        if revision != head_revision():
            raise ApiError(
                503,
                "database_not_migrated",
                f"the database is at revision {revision}, this server needs {head_revision()}: run `cpt api migrate`",
            )
        return Health()

    return app


def database_revision(services: ServicesDep) -> str | None:
    """The migration at which the database is; None: it is empty."""
    with services.database.engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()
