"""Settings of the API, from the environment (`CPT_…`) or files below /run/secrets."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

_SECRETS = Path("/run/secrets")

DEFAULT_SECRETS = frozenset({"", "change-me", "changeme", "secret", "password", "test"})
"""What nobody may use as a secret."""


class ApiSettings(BaseSettings):
    """Everything an operator can set for the API."""

    model_config = SettingsConfigDict(
        env_prefix="CPT_",
        secrets_dir=_SECRETS if _SECRETS.is_dir() else None,
        extra="ignore",
        use_attribute_docstrings=True,
    )

    database_url: SecretStr = SecretStr("sqlite:///cpt.db")
    """`sqlite:///file` or `postgresql+psycopg://user:password@host/name`."""
    broker_url: SecretStr = SecretStr("redis://127.0.0.1:6379/0")
    """Redis or Valkey: doorbells to workers and wake-ups between API processes. Nothing is lost when it is."""
    agent_token: SecretStr
    """Shared secret with which workers claim jobs; 16 characters or more."""
    host: str = "127.0.0.1"
    """Address to listen on."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    """Port to listen on."""
    data_root: Path | None = None
    """Where datasets lie, if the API sees the same folder as the workers: then a missing one is refused at once."""
    lease_seconds: Annotated[float, Field(ge=1, le=3600)] = 30.0
    """Silence of a worker after which its attempt is ended and the job queued again."""
    sweep_seconds: Annotated[float, Field(ge=0.1, le=60)] = 2.0
    """How often waiting jobs are rung for again, should a doorbell have been lost."""
    project_max_running: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    """Jobs of one project that may run at the same time; null: as many as there are slots."""
    max_body_bytes: Annotated[int, Field(ge=1024)] = 256 * 1024
    """Largest request body from a client."""
    max_append_bytes: Annotated[int, Field(ge=1024)] = 16 * 1024 * 1024
    """Largest request body from a worker."""
    max_json_depth: Annotated[int, Field(ge=8, le=256)] = 32
    """Deepest nesting of a JSON body."""

    @model_validator(mode="after")
    def _refuse_default_secrets(self) -> Self:
        token = self.agent_token.get_secret_value()
        if token.lower() in DEFAULT_SECRETS or len(token) < 16:
            raise ValueError(
                "CPT_AGENT_TOKEN must be a secret of 16 characters or more; make one with "
                "`python -c 'import secrets; print(secrets.token_urlsafe(32))'`"
            )
        return self


@cache
def settings() -> ApiSettings:
    """The settings of this process, read once."""
    return ApiSettings()
