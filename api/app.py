"""The application: its parts, its routes, and what runs beside them."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, Literal

from fastapi import Depends, FastAPI
from fastapi.middleware.cors import CORSMiddleware
from pydantic import BaseModel, ConfigDict

from api import problems
from api.agent.endpoints import router as agent_router
from api.answers import Answers
from api.artifacts.endpoints import router as artifacts_router
from api.audit import recorder
from api.audit.endpoints import router as audit_router
from api.audit.sweeper import SWEEP_SECONDS, AuditSweeper
from api.background import Deadlines, Reaper, Sweeper, Ticker
from api.broker import Bells
from api.checkpoints.endpoints import router as checkpoints_router
from api.compare.endpoints import router as compare_router
from api.dashboard.router import router as dashboard_router
from api.datasets.endpoints import router as datasets_router
from api.db import BUSY_TIMEOUT_SECONDS, Database
from api.deps import Services, ServicesDep
from api.doctor import service as doctor
from api.doctor.endpoints import router as doctor_router
from api.files.service import FileSweeper
from api.fleet.endpoints import router as fleet_router
from api.hub import Hub
from api.jobs.actions import router as actions_router
from api.jobs.endpoints import router as jobs_router
from api.keys.authenticator import Authenticator
from api.keys.endpoints import router as keys_router
from api.keys.holders import CHECK_SECONDS, Holders
from api.limits import BodyLimits
from api.local import LocalOnly
from api.log.endpoints import router as log_router
from api.logs.archive import LogArchiver
from api.logs.endpoints import agent_router as agent_logs_router
from api.logs.endpoints import router as logs_router
from api.metrics.endpoints import router as metrics_router
from api.plans.endpoints import router as plans_router
from api.problems import ApiError, documented
from api.projects.endpoints import router as projects_router
from api.rate import Buckets
from api.recipes.endpoints import router as recipes_router
from api.settings import ApiSettings
from api.sweeps.endpoints import router as sweeps_router
from api.telemetry.endpoints import router as telemetry_router
from api.telemetry.prometheus import Telemetry
from api.telemetry.traces import TELEMETRY
from api.webhooks.endpoints import events_router
from api.webhooks.endpoints import router as webhooks_router
from api.webhooks.sender import SENDER_SECONDS, SENDERS, Sender
from api.webhooks.targets import Targets
from cpt_core import __version__
from cpt_core.storage import open_storage
from migrations import head_revision

logger = logging.getLogger(__name__)

KEY_USE_SECONDS = 60.0
"""How often it is stored when keys were last used: not at each request."""

DESCRIPTION = """
Trains neural networks with Cyclic Precision Training: submit a spec, follow bit width, loss, cost and energy.

Errors are RFC 9457 problem documents with a stable `code`, and `errors` that name the fields by JSON pointer.
"""


CLIENT_ROUTERS = (
    jobs_router,
    actions_router,
    plans_router,
    recipes_router,
    log_router,
    metrics_router,
    sweeps_router,
    compare_router,
    webhooks_router,
    checkpoints_router,
    logs_router,
    artifacts_router,
    datasets_router,
    fleet_router,
    doctor_router,
    keys_router,
    projects_router,
    audit_router,
)


class Health(BaseModel):
    """The process answers."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    status: Literal["ok"] = "ok"
    """Whether it does; it says so or answers with an error."""


def create_app(settings: ApiSettings) -> FastAPI:
    """The application on these settings. Connections are made when it starts."""
    # A worker gives an append a third of the lease: within that it shall hear that the database is away.
    patience = min(BUSY_TIMEOUT_SECONDS, settings.lease_seconds / 4)
    database = Database(settings.database_url.get_secret_value(), patience=patience)
    broker_url = settings.broker_url.get_secret_value()
    recorder.attach(database)
    hub = Hub(broker_url)
    services = Services(
        settings=settings,
        database=database,
        bells=Bells(broker_url),
        hub=hub,
        telemetry=Telemetry(database, lambda: hub.listeners),
        storage=open_storage(settings.storage_url),
        keys=Authenticator(database),
        holders=Holders(database),
        buckets=Buckets(),
        targets=Targets(settings.webhook_networks),
    )

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        interval = min(1.0, settings.lease_seconds / 10)
        reaper = Reaper(database, settings.lease_seconds, interval, services.ended)
        sweeper = Sweeper(database, services.bells)
        deadlines = Deadlines(database, services.ended)
        tickers = [
            Ticker("reaper", interval, reaper.tick),
            Ticker("sweeper", settings.sweep_seconds, sweeper.tick),
            Ticker("deadlines", settings.sweep_seconds, deadlines.tick),
            Ticker("keys of streams", CHECK_SECONDS, services.holders.tick),
            Ticker("key uses", KEY_USE_SECONDS, services.keys.write_uses),
            Ticker("log archiver", settings.sweep_seconds, LogArchiver(database, services.storage).tick),
            Ticker("file sweeper", settings.sweep_seconds, FileSweeper(database, services.storage).tick),
        ]
        if settings.audit_days is not None:
            tickers.append(Ticker("audit sweeper", SWEEP_SECONDS, AuditSweeper(database, settings.audit_days).tick))
        sender = Sender(database, services.targets)
        senders = [Ticker(f"webhooks-{number}", SENDER_SECONDS, sender.drain) for number in range(SENDERS)]
        services.bells.start()
        services.hub.start()
        for ticker in (*tickers, *senders):
            ticker.start()
        yield
        sender.stop()
        for ticker in tickers:
            ticker.stop()
        for ticker in senders:
            ticker.stop(patience=0.1)  # a delivery cut off here is made again
        await services.hub.stop()
        services.bells.stop()
        database.close()

    app = FastAPI(
        title="CPT Service",
        version=__version__,
        description=DESCRIPTION,
        lifespan=lifespan,
        telemetry=TELEMETRY,
        generate_unique_id_function=lambda route: route.name,  # the names that the audit log has, too
    )
    app.state.services = services
    for router in CLIENT_ROUTERS:
        app.include_router(router, responses=documented(401, 403, 429))
    for router in (agent_router, agent_logs_router, telemetry_router):
        app.include_router(router)
    app.include_router(dashboard_router)
    app.webhooks.include_router(events_router)
    problems.install(app)
    _describe(app)
    _guard(app, settings)

    @app.get("/healthz", tags=["health"])
    def health() -> Health:
        """The process is alive."""
        return Health()

    @app.get("/readyz", tags=["health"], responses=documented())
    def ready(revision: Annotated[str | None, Depends(database_revision)]) -> Health:
        """The process can do its work: the database answers and is migrated, to this version's revision or beyond."""
        # Revisions count up, and each only adds what the release before can do without: both serve side by side.
        if revision is None or revision < head_revision():
            raise ApiError(
                503,
                "database_not_migrated",
                f"the database is at revision {revision}, this server needs {head_revision()}: run `cpt api migrate`",
            )
        return Health()

    return app


def _describe(app: FastAPI) -> None:
    """Have /openapi.json tell of problems as they are sent."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = problems.describe(plain())
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _guard(app: FastAPI, settings: ApiSettings) -> None:
    """Put what looks at requests before anything else does around the application; the last is the outermost."""
    app.add_middleware(
        BodyLimits,
        max_bytes=settings.max_body_bytes,
        max_agent_bytes=settings.max_append_bytes,
        max_depth=settings.max_json_depth,
    )
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST", "PATCH", "PUT", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "Last-Event-ID", "X-Request-Id"],
            expose_headers=["Location", "RateLimit", "RateLimit-Policy", "Retry-After", "X-Request-Id"],
        )
    if settings.auth == "off":
        app.add_middleware(LocalOnly, host=settings.host, origins=settings.cors_origins)
    app.add_middleware(Answers)


def database_revision(services: ServicesDep) -> str | None:
    """The migration at which the database is; None: it is empty."""
    return doctor.revision(services.database)
