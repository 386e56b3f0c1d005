"""The application on a real, migrated database. Redis is away on purpose: nothing here may depend on it."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_network
from pathlib import Path
from typing import Any, cast

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from pydantic import SecretStr

from api.app import create_app
from api.deps import Services
from api.keys import service as keys
from api.keys.schemas import NewKey
from api.projects import service as projects
from api.projects.schemas import NewProject, ProjectLimits
from api.settings import ApiSettings

AGENT_TOKEN = "an-agent-token-for-tests"


@pytest.fixture
def data_root(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    root.mkdir()
    return root


@pytest.fixture
def storage_url(tmp_path: Path) -> str:
    return str(tmp_path / "storage")


@contextmanager
def serving(database_url: str, data_root: Path, **settings: Any) -> Iterator[TestClient]:
    """The application with these settings."""
    app = create_app(
        ApiSettings(
            database_url=SecretStr(database_url),
            broker_url=SecretStr("redis://127.0.0.1:1/0"),
            agent_token=SecretStr(AGENT_TOKEN),
            data_root=data_root,
            **{"storage_url": str(data_root.parent / "storage"), "sweep_seconds": 60} | settings,
        )
    )
    with TestClient(app, base_url="http://127.0.0.1") as opened:
        yield opened


@pytest.fixture
def settings() -> dict[str, Any]:
    """Settings of the API beside those that all tests have; a test class or module may override it."""
    return {}


@pytest.fixture
def client(database_url: str, data_root: Path, storage_url: str, settings: dict[str, Any]) -> Iterator[TestClient]:
    """A server that asks for no keys."""
    with serving(database_url, data_root, **{"auth": "off", "storage_url": storage_url} | settings) as opened:
        yield opened


class Keyed:
    """A server that asks for keys."""

    def __init__(self, client: TestClient) -> None:
        self.client = client
        self.services: Services = cast(FastAPI, client.app).state.services

    def key(self, scope: str, project: str = "default", **fields: Any) -> dict[str, str]:
        """Headers with a new key."""
        _, key = keys.create(
            self.services.database, project, NewKey(name=f"{scope} of {project}", scope=scope, **fields)
        )
        return {"Authorization": f"Bearer {key}"}

    def project(self, project_id: str, **limits: Any) -> None:
        """Make a project."""
        projects.create(
            self.services.database, NewProject(id=project_id, name=project_id, limits=ProjectLimits(**limits))
        )


@pytest.fixture
def keyed(database_url: str, data_root: Path) -> Iterator[Keyed]:
    with serving(database_url, data_root, webhook_networks=[ip_network("127.0.0.0/8")]) as opened:
        yield Keyed(opened)


Claim = Callable[..., dict[str, Any] | None]


@pytest.fixture
def claim(client: TestClient) -> Claim:
    """Claims as a worker does; returns the assignment, or None."""

    def do(claim_id: str | None = None, **changes: Any) -> dict[str, Any] | None:
        """`claim_id`: one hexadecimal digit; without it the claim is one of its own."""
        identity = claim_id * 32 if claim_id else secrets.token_hex(16)
        body = {"claim_id": identity, "worker": "w1", "queue": "default", "device": "cpu", "devices": 2, **changes}
        answer = client.post("/v1/agent/claim", json=body, headers={"Authorization": f"Bearer {AGENT_TOKEN}"})
        assert answer.status_code in (200, 204), answer.text
        return answer.json() if answer.status_code == 200 else None

    return do
