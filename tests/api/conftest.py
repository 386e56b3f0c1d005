"""The application on a real, migrated database. Redis is away on purpose: nothing here may depend on it."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr

from api.app import create_app
from api.settings import ApiSettings
from migrations import upgrade

AGENT_TOKEN = "an-agent-token-for-tests"


@pytest.fixture
def data_root(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    root.mkdir()
    return root


@pytest.fixture
def settings() -> dict[str, Any]:
    """Settings of the API beside those that all tests have; a test class or module may override it."""
    return {}


@pytest.fixture
def client(database_url: str, data_root: Path, settings: dict[str, Any]) -> Iterator[TestClient]:
    upgrade(database_url)
    found = ApiSettings(
        database_url=SecretStr(database_url),
        broker_url=SecretStr("redis://127.0.0.1:1/0"),
        agent_token=SecretStr(AGENT_TOKEN),
        data_root=data_root,
        sweep_seconds=60,
        **settings,
    )
    with TestClient(create_app(found), raise_server_exceptions=False) as opened:
        yield opened


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
