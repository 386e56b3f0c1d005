"""Secrets of API and worker: in files or variables, of any characters, and none that everybody would try first."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
from kombu import Connection
from pydantic import SecretStr, ValidationError
from sqlalchemy import make_url

from api.settings import ApiSettings
from cpt_core.settings import Settings, with_password
from worker.settings import WorkerSettings

AWKWARD = "p@ss:w/o#r?d%24 \"'\\&"
SECRETS = [
    (role, name)
    for role in (ApiSettings, WorkerSettings)
    for name, field in role.model_fields.items()
    if SecretStr in (field.annotation, *get_args(field.annotation))
]


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CPT_AGENT_TOKEN", "x" * 32)


def from_files(role: type[Settings], folder: Path, **files: str) -> Settings:
    for name, content in files.items():
        (folder / f"CPT_{name.upper()}").write_text(content)
    return role(_secrets_dir=folder)


def secret(settings: Settings, name: str) -> str:
    found = getattr(settings, name)
    assert isinstance(found, SecretStr)
    return found.get_secret_value()


@pytest.mark.parametrize(("role", "name"), SECRETS, ids=lambda each: getattr(each, "__name__", each))
def test_every_secret_may_be_a_file(role: type[Settings], name: str, tmp_path: Path) -> None:
    value = "redis://files.example.org/0" if "url" in name else "out-of-a-file-" + "x" * 20
    assert secret(from_files(role, tmp_path, **{name: f"{value}\n"}), name) == value


@pytest.mark.parametrize("role", [ApiSettings, WorkerSettings])
def test_a_file_goes_before_a_variable(role: type[Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CPT_AGENT_TOKEN", "file")
    assert secret(from_files(role, tmp_path, agent_token="y" * 32), "agent_token") == "y" * 32


@pytest.mark.parametrize("role", [ApiSettings, WorkerSettings])
def test_a_password_of_its_own_may_have_any_characters(role: type[Settings], tmp_path: Path) -> None:
    settings = from_files(role, tmp_path, broker_url="redis://redis:6379/0", broker_password=AWKWARD)
    connection = Connection(secret(settings, "broker_url"))
    assert (connection.hostname, connection.port, connection.password) == ("redis", 6379, AWKWARD)


def test_the_databases_password_may_have_any_characters(tmp_path: Path) -> None:
    files = {"database_url": "postgresql+psycopg://cpt@postgres/cpt?sslmode=require", "database_password": AWKWARD}
    url = make_url(secret(from_files(ApiSettings, tmp_path, **files), "database_url"))
    assert (url.username, url.password, url.host, url.database) == ("cpt", AWKWARD, "postgres", "cpt")
    assert url.query == {"sslmode": "require"}


@pytest.mark.parametrize(
    ("url", "joined"),
    [
        ("postgresql+psycopg://cpt:old@[::1]:5432/cpt", "postgresql+psycopg://cpt:new@[::1]:5432/cpt"),
        ("rediss://redis.example.org:6380/1", "rediss://:new@redis.example.org:6380/1"),
        ("sqlite:////var/lib/cpt.db", "sqlite:////var/lib/cpt.db"),
    ],
)
def test_a_password_takes_the_place_of_the_urls(url: str, joined: str) -> None:
    assert with_password(SecretStr(url), SecretStr("new")).get_secret_value() == joined
    assert with_password(SecretStr(url), None).get_secret_value() == url


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("CPT_AGENT_TOKEN", {"agent_token": "changeme"}),
        ("CPT_AGENT_TOKEN", {"agent_token": "file"}),
        ("CPT_METRICS_TOKEN", {"metrics_token": ""}),
        ("CPT_METRICS_TOKEN", {"metrics_token": "prometheus"}),
        ("CPT_DATABASE", {"database_url": "postgresql+psycopg://cpt:Postgres@db/cpt"}),
        ("CPT_DATABASE", {"database_url": "postgresql+psycopg://cpt@db/cpt", "database_password": "file"}),
        ("CPT_BROKER", {"broker_url": "redis://:@redis/0"}),
        ("CPT_BROKER", {"broker_url": "redis://redis/0", "broker_password": "password"}),
    ],
)
def test_what_everybody_would_try_first_is_refused(name: str, files: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match=name):
        from_files(ApiSettings, tmp_path, **files)


def test_a_database_of_this_machine_alone_may_have_any_password(tmp_path: Path) -> None:
    from_files(ApiSettings, tmp_path, database_url="postgresql+psycopg://cpt:cpt@127.0.0.1/cpt")
