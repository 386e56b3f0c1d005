"""Settings of the API, from the environment (`CPT_…`) or files below /run/secrets."""

from __future__ import annotations

import ipaddress
import re
from functools import cache
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, IPvAnyNetwork, SecretStr, field_validator, model_validator
from pydantic_settings import NoDecode
from sqlalchemy import make_url

from cpt_core.logs import Format
from cpt_core.settings import CommaSeparated, Settings, StorageUrl, with_password

_ORIGIN = re.compile(r"https?://[A-Za-z0-9.\[\]:-]+")

DEFAULT_SECRETS = frozenset(
    {"", "change-me", "changeme", "secret", "password", "test", "postgres", "cpt", "admin", "file"}
)
"""What nobody may use as a password; `file` is what stands in `.env` for one that is in a file."""

_MAKE_ONE = "make one with `python -c 'import secrets; print(secrets.token_urlsafe(32))'`"


class ApiSettings(Settings):
    """Everything an operator can set for the API."""

    database_url: SecretStr = SecretStr("sqlite:///cpt.db")
    """`sqlite:///file` or `postgresql+psycopg://user:password@host/name`."""
    database_password: SecretStr | None = None
    """The password of `database_url`, if it is not in it: any characters, and in a file of its own."""
    broker_url: SecretStr = SecretStr("redis://127.0.0.1:6379/0")
    """Redis or Valkey: doorbells to workers and wake-ups between API processes. Nothing is lost when it is."""
    broker_password: SecretStr | None = None
    """The password of `broker_url`, likewise."""
    agent_token: SecretStr
    """Shared secret with which workers claim jobs; 16 characters or more."""
    host: str = "127.0.0.1"
    """Address to listen on."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    """Port to listen on."""
    auth: Literal["keys", "off"] = "keys"
    """`keys`: every request needs an API key; `off`: none does, which only a loopback address may have."""
    cors_origins: Annotated[list[str], NoDecode, CommaSeparated] = []
    """Origins whose web pages may use the API, such as `https://cpt.example.org`, separated by commas; none by
    default."""
    data_root: Path | None = None
    """Where datasets lie, if the API sees the same folder as the workers: then a missing one is refused at once."""
    storage_url: StorageUrl = "cpt-storage"
    """Root of checkpoints, logs and uploaded datasets: a folder, or an fsspec URL; the same for API and workers."""
    storage_downloads: Literal["redirect", "proxy"] = "redirect"
    """How files are sent from an object store: `redirect` to a URL that it signed, or, where clients cannot reach it,
    `proxy` through the API."""
    max_dataset_bytes: Annotated[int, Field(ge=1024)] = 10 * 1024**3
    """Largest uploaded dataset, as it is sent and as it unpacks."""
    max_log_bytes: Annotated[int, Field(ge=64 * 1024)] = 8 * 1024**2
    """What is kept of a rank's output in an attempt: the beginning and the end, half each."""
    lease_seconds: Annotated[float, Field(ge=1, le=3600)] = 30.0
    """Silence of a worker after which its attempt is ended and the job queued again."""
    sweep_seconds: Annotated[float, Field(ge=0.1, le=60)] = 2.0
    """How often waiting jobs are rung for again, should a doorbell have been lost."""
    max_body_bytes: Annotated[int, Field(ge=1024)] = 256 * 1024
    """Largest request body from a client."""
    max_append_bytes: Annotated[int, Field(ge=1024)] = 16 * 1024 * 1024
    """Largest request body from a worker."""
    metrics_token: SecretStr | None = None
    """Bearer token with which Prometheus reads `/metrics`, 16 characters or more; null: only from this machine."""
    audit_days: Annotated[int, Field(ge=1, le=36_500)] | None = None
    """Days after which entries of the audit log are deleted; null: they are kept for ever."""
    log_format: Format = "text"
    """Lines for people, or a JSON object a line."""
    max_json_depth: Annotated[int, Field(ge=8, le=256)] = 32
    """Deepest nesting of a JSON body."""

    max_sweep_members: Annotated[int, Field(ge=1, le=10_000)] = 500
    """Jobs that one sweep may make."""
    webhook_networks: Annotated[list[IPvAnyNetwork], NoDecode, CommaSeparated] = []
    """Networks that webhooks may reach although they are not public, and over plain http, such as `10.0.0.0/8`;
    separated by commas. Empty: public addresses over https alone."""

    @model_validator(mode="after")
    def _join_passwords(self) -> Self:
        self.database_url = with_password(self.database_url, self.database_password)
        self.broker_url = with_password(self.broker_url, self.broker_password)
        return self

    @model_validator(mode="after")
    def _refuse_default_secrets(self) -> Self:
        for name, token in (("CPT_AGENT_TOKEN", self.agent_token), ("CPT_METRICS_TOKEN", self.metrics_token)):
            if token is not None and len(token) < 16:
                raise ValueError(f"{name} must be a secret of 16 characters or more; {_MAKE_ONE}")
        database, broker = make_url(self.database_url.get_secret_value()), urlsplit(self.broker_url.get_secret_value())
        for name, password, host in (
            ("CPT_DATABASE", database.password, database.host),
            ("CPT_BROKER", broker.password, broker.hostname),
        ):
            if password is not None and password.lower() in DEFAULT_SECRETS and not _is_loopback(host or "localhost"):
                raise ValueError(f"{name}_URL or _PASSWORD has a password that everybody would try first: set another")
        return self

    @field_validator("cors_origins")
    @classmethod
    def _origins_are_named(cls, value: list[str]) -> list[str]:
        for origin in value:
            if not _ORIGIN.fullmatch(origin):
                raise ValueError(f"{origin!r} is no origin: name each as https://host or http://host:port, without *")
        return value

    @model_validator(mode="after")
    def _keep_open_doors_inside(self) -> Self:
        if self.auth == "off" and not _is_loopback(self.host):
            raise ValueError(
                f"CPT_AUTH=off lets everybody in who reaches {self.host}: set CPT_HOST=127.0.0.1, or CPT_AUTH=keys and "
                "make a key with `cpt api create-key`"
            )
        return self


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@cache
def settings() -> ApiSettings:
    """The settings of this process, read once."""
    return ApiSettings()
