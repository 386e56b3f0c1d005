"""What endpoints ask for: the parts of the running application and the callers' credentials."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Header, Request, Security
from sqlalchemy.orm import Session

from api.agent.service import Limits
from api.broker import Bells
from api.db import Database
from api.hub import Hub
from api.problems import ApiError
from api.settings import ApiSettings


@dataclass(frozen=True, slots=True)
class Services:
    """The parts of one running application."""

    settings: ApiSettings
    database: Database
    bells: Bells
    hub: Hub

    def limits_of(self, _session: Session, _project: str) -> Limits:
        """What a project may have at the same time: for all the same."""
        return Limits(running_jobs=self.settings.project_max_running)

    def changed(self, job_id: str) -> None:
        """A job's log has grown: wake whoever follows it, here and in other processes."""
        self.hub.wake_from_thread(job_id)
        self.bells.wake(job_id)


def services(request: Request) -> Services:
    """The parts of the application that serves this request."""
    found: Services = request.app.state.services
    return found


ServicesDep = Annotated[Services, Depends(services)]


def bearer(authorization: Annotated[str | None, Header()] = None) -> str:
    """The bearer token of the request.

    Raises:
        ApiError: there is none.
    """
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise ApiError(
            401, "invalid_token", "send 'Authorization: Bearer <token>'", headers={"WWW-Authenticate": "Bearer"}
        )
    return token


BearerDep = Annotated[str, Depends(bearer)]


def agent(services: ServicesDep, token: BearerDep) -> None:
    """Let only workers pass.

    Raises:
        ApiError: the token is not the workers'.
    """
    expected = services.settings.agent_token.get_secret_value()
    if not hmac.compare_digest(token.encode(), expected.encode()):
        raise ApiError(401, "invalid_token", "this is not the agent token of this server (CPT_AGENT_TOKEN)")


AgentDep = Depends(agent)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, and in which project: all that a client sees and makes is in it."""

    project: str


def caller() -> Caller:
    """The client of this request. There are no keys yet: everybody is the one user of the one project."""
    return Caller(project="default")


Reader = Annotated[Caller, Security(caller, scopes=["read"])]
Submitter = Annotated[Caller, Security(caller, scopes=["submit"])]
