"""Secrets are in no log, no error and no answer, whatever goes wrong."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr, ValidationError
from sqlalchemy import text

from api.settings import ApiSettings
from tests.api.conftest import AGENT_TOKEN, Keyed
from tests.api.factories import spec_document

PASSWORD = "p4ssw0rd-of-the-database"


def test_errors_and_logs_hold_no_key_no_token_and_no_row(keyed: Keyed, caplog: pytest.LogCaptureFixture) -> None:
    headers = keyed.key("admin")
    key = headers["Authorization"].removeprefix("Bearer ")
    wrong = key[:-4] + "beef"
    workers = {"Authorization": f"Bearer {AGENT_TOKEN}"}
    with caplog.at_level(logging.DEBUG):
        said = [
            keyed.client.get("/v1/jobs", headers={"Authorization": f"Bearer {wrong}"}),
            keyed.client.get("/v1/jobs", headers={"Authorization": f"Basic {key}"}),
            keyed.client.post("/v1/jobs", json={"key": "x"}, headers=headers),
            keyed.client.post("/v1/agent/claim", json={}, headers=workers),
            keyed.client.post("/v1/agent/claim", json={}, headers=headers),
            keyed.client.get("/v1/jobs", headers=workers),
            keyed.client.get("/v1/keys/self", headers=headers),
            keyed.client.get("/v1/keys", headers=headers),
            keyed.client.get("/v1/audit", headers=headers),
        ]
        with keyed.services.database.write() as session:
            session.execute(text("ALTER TABLE jobs RENAME TO elsewhere"))
        said.append(keyed.client.post("/v1/jobs", json=spec_document(name="hush-hush"), headers=headers))
        with keyed.services.database.write() as session:
            session.execute(text("ALTER TABLE elsewhere RENAME TO jobs"))
    assert said[-1].status_code >= 500
    everything = caplog.text + "".join(answer.text + str(answer.headers) for answer in said)
    for secret in (key.rpartition("_")[2][:32], wrong.rpartition("_")[2][:32], AGENT_TOKEN, "hush-hush"):
        assert secret not in everything


def test_settings_show_no_secret() -> None:
    settings = ApiSettings(
        agent_token=SecretStr(AGENT_TOKEN),
        database_url=SecretStr(f"postgresql+psycopg://cpt:{PASSWORD}@db/cpt"),
        broker_url=SecretStr(f"redis://:{PASSWORD}@redis/0"),
    )
    for shown in (repr(settings), str(settings), settings.model_dump_json()):
        assert AGENT_TOKEN not in shown
        assert PASSWORD not in shown


def test_a_refused_setting_shows_no_secret(tmp_path: Path) -> None:
    env = os.environ | {
        "CPT_AGENT_TOKEN": "too-short-s3cr",
        "CPT_DATABASE_URL": f"postgresql+psycopg://cpt:{PASSWORD}@127.0.0.1:1/cpt",
        "CPT_PORT": "many",
    }
    done = subprocess.run([sys.executable, "-m", "api"], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "CPT_PORT" in done.stderr
    assert "too-short-s3cr" not in done.stderr
    assert PASSWORD not in done.stderr
    with pytest.raises(ValidationError) as caught:
        ApiSettings(agent_token=SecretStr("too-short-s3cr"))
    assert "too-short-s3cr" not in str(caught.value)


def test_a_database_that_is_away_is_told_without_its_password(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from api.app import create_app

    settings = ApiSettings(
        agent_token=SecretStr(AGENT_TOKEN),
        database_url=SecretStr(f"postgresql+psycopg://cpt:{PASSWORD}@127.0.0.1:1/cpt"),
        broker_url=SecretStr(f"redis://:{PASSWORD}@127.0.0.1:1/0"),
    )
    with caplog.at_level(logging.DEBUG), TestClient(create_app(settings), base_url="http://127.0.0.1") as client:
        answer = client.get("/v1/jobs", headers={"Authorization": f"Bearer cpt_{'0' * 16}_{'1' * 64}"})
    assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
    assert PASSWORD not in answer.text + caplog.text
    assert "1" * 64 not in answer.text + caplog.text


def test_the_reference_holds_no_secret_of_this_server(keyed: Keyed) -> None:
    assert AGENT_TOKEN not in json.dumps(keyed.client.get("/openapi.json").json())
