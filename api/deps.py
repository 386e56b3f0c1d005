"""What endpoints ask for: the parts of the running application, and who asks."""

from __future__ import annotations

import hmac
import math
from dataclasses import dataclass
from typing import Annotated

from anyio import to_thread
from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer, SecurityScopes

from api.audit import recorder
from api.broker import Bells
from api.db import Database
from api.hub import Hub, logs_key
from api.keys.authenticator import Authenticator, Identity, refused
from api.keys.holders import Holders
from api.keys.schemas import Scope
from api.problems import ApiError
from api.projects.repository import DEFAULT
from api.rate import Buckets
from api.settings import ApiSettings
from api.telemetry.prometheus import Telemetry
from api.webhooks.targets import Targets
from cpt_core.storage import Storage

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True, slots=True)
class Services:
    """The parts of one running application."""

    settings: ApiSettings
    database: Database
    bells: Bells
    hub: Hub
    telemetry: Telemetry
    storage: Storage
    keys: Authenticator
    holders: Holders
    buckets: Buckets
    targets: Targets

    def changed(self, job_id: str) -> None:
        """A job's log has grown: wake whoever follows it, here and in other processes."""
        self._wake(job_id)

    def ended(self, job_id: str) -> None:
        """A job, or an attempt at it, has ended: wake those as well who wait for more of its output."""
        self._wake(job_id)
        self._wake(logs_key(job_id))

    def printed(self, job_id: str) -> None:
        """The output of a job has grown."""
        self._wake(logs_key(job_id))

    def _wake(self, name: str) -> None:
        self.hub.wake_from_thread(name)
        self.bells.wake(name)


async def services(request: Request) -> Services:
    """The parts of the application that serves this request."""
    found: Services = request.app.state.services
    return found


ServicesDep = Annotated[Services, Depends(services)]

_api_key = HTTPBearer(
    scheme_name="ApiKey",
    bearerFormat="cpt_…",
    auto_error=False,
    description="An API key. The scopes are read, submit, admin and operator; each includes those before it.",
)
_agent_token = HTTPBearer(
    scheme_name="AgentToken",
    auto_error=False,
    description="The workers' shared secret to claim, and then the token of the claimed attempt.",
)

Credentials = HTTPAuthorizationCredentials | None


def _token(credentials: Credentials, what: str) -> str:
    if credentials is None or not credentials.credentials:
        raise ApiError(
            401, "invalid_token", f"send 'Authorization: Bearer <{what}>'", headers={"WWW-Authenticate": "Bearer"}
        )
    return credentials.credentials


def bearer(credentials: Annotated[Credentials, Depends(_agent_token)]) -> str:
    """The bearer token of a worker's request.

    Raises:
        ApiError: there is none.
    """
    return _token(credentials, "token")


BearerDep = Annotated[str, Depends(bearer)]


def agent(services: ServicesDep, token: BearerDep) -> None:
    """Let only workers pass.

    Raises:
        ApiError: the token is not the workers'.
    """
    expected = services.settings.agent_token.get_secret_value()
    if not hmac.compare_digest(token.encode(), expected.encode()):
        raise refused("this is not the agent token of this server (CPT_AGENT_TOKEN)")


AgentDep = Depends(agent)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, and in which project: all that a client sees and makes is in it."""

    project: str
    scope: Scope = Scope.OPERATOR
    name: str = "local"
    """Name of the key."""
    key: str | None = None
    """Id of the key; null on a server without keys."""

    @property
    def is_operator(self) -> bool:
        """Whether all projects are the caller's."""
        return self.scope is Scope.OPERATOR

    def require(self, scope: Scope) -> None:
        """Go on only with this scope.

        Raises:
            ApiError: the key has less.
        """
        if not self.scope.includes(scope):
            raise ApiError(
                403,
                "insufficient_scope",
                f"this needs a key with scope {scope}, this one has {self.scope}",
                headers={"WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{scope}"'},
                required_scope=str(scope),
            )

    def may_enter(self, project: str) -> bool:
        """Whether the project is the caller's."""
        return self.is_operator or project == self.project

    def choose(self, project: str | None) -> str:
        """The project that a request names, the caller's own by default.

        Raises:
            ApiError: it is another's.
        """
        if project is not None and not self.may_enter(project):
            self.require(Scope.OPERATOR)
        return project or self.project


_EVERYBODY = Caller(project=DEFAULT)
"""The caller where no keys are asked for: this machine's user."""


async def caller(
    request: Request,
    services: ServicesDep,
    security: SecurityScopes,
    credentials: Annotated[Credentials, Depends(_api_key)],
) -> Caller:
    """The client of this request, if it may make it.

    Raises:
        ApiError: no valid key (401), a key without the scope (403), or too many requests (429).
    """
    found = _EVERYBODY
    if services.settings.auth == "keys":
        token = _token(credentials, "API key")
        identity = services.keys.remembered(token)
        if identity is None:
            identity = await to_thread.run_sync(services.keys.look_up, token)
        _count(request, services.buckets, identity)
        found = Caller(identity.project, identity.scope, identity.name, identity.key)
    for scope in security.scopes:
        found.require(Scope(scope))
    if request.method not in SAFE_METHODS:
        recorder.begin(_act(request, found))
    return found


def _count(request: Request, buckets: Buckets, identity: Identity) -> None:
    """Take the request from the allowances of its key and its project; the answer's headers tell of the tighter one."""
    taken = [
        buckets.take(kind, owner, rate)
        for kind, owner, rate in (
            ("key", identity.key, identity.key_rate),
            ("project", identity.project, identity.project_rate),
        )
        if rate is not None
    ]
    if not taken:
        return
    tightest = max(taken, key=lambda allowance: (allowance.wait, -allowance.remaining))
    request.state.headers = tightest.headers()
    if tightest.wait:
        raise ApiError(
            429,
            "rate_limited",
            f"this {tightest.name} may make {tightest.per_minute} requests a minute: wait, see Retry-After",
            headers={"Retry-After": str(math.ceil(tightest.wait))},
        )


def _act(request: Request, caller: Caller) -> recorder.Act:
    return recorder.Act(
        action=request.scope["route"].name,
        project=caller.project,
        actor=caller.name,
        key=caller.key,
        object=next(iter(request.path_params.values()), None),
        address=request.client.host if request.client else None,
        request_id=request.state.request_id,
    )


Reader = Annotated[Caller, Security(caller, scopes=[Scope.READ])]
Submitter = Annotated[Caller, Security(caller, scopes=[Scope.SUBMIT])]
Admin = Annotated[Caller, Security(caller, scopes=[Scope.ADMIN])]
Operator = Annotated[Caller, Security(caller, scopes=[Scope.OPERATOR])]
