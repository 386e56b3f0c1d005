"""What the settings of API and worker have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote, urlsplit

from pydantic import AfterValidator, BeforeValidator, SecretStr
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

_SECRETS = Path("/run/secrets")

SECRETS_DIR = _SECRETS if _SECRETS.is_dir() else None
"""Where a container has its secrets as files; null: there is no such folder."""


class Settings(BaseSettings):
    """Settings from files below /run/secrets or the environment, both named `CPT_…`."""

    model_config = SettingsConfigDict(
        env_prefix="CPT_",
        secrets_dir=SECRETS_DIR,
        extra="ignore",
        use_attribute_docstrings=True,
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """A file goes before a variable: who mounts one means it, and a variable may be left over."""
        return init_settings, file_secret_settings, env_settings


def with_password(url: SecretStr, password: SecretStr | None) -> SecretStr:
    """The URL of a server with the password, whatever its characters, in place of the one that it has."""
    secret = url.get_secret_value()
    parts = urlsplit(secret)
    if password is None or not parts.netloc:  # a file has no password
        return url
    user, _, host = parts.netloc.rpartition("@")
    user = user.partition(":")[0]
    return SecretStr(parts._replace(netloc=f"{user}:{quote(password.get_secret_value(), safe='')}@{host}").geturl())


def _split(value: Any) -> Any:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _absolute_if_a_folder(value: str) -> str:
    return value if "://" in value else str(Path(value).expanduser().absolute())


CommaSeparated = BeforeValidator(_split)
"""A list whose items are separated by commas in the environment; it needs `NoDecode`, else JSON is expected."""

StorageUrl = Annotated[str, AfterValidator(_absolute_if_a_folder)]
"""A folder, or an fsspec URL."""
