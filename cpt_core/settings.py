"""What the settings of API and worker have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator

_SECRETS = Path("/run/secrets")

SECRETS_DIR = _SECRETS if _SECRETS.is_dir() else None
"""Where a container has its secrets as files; null: there is no such folder."""


def _split(value: Any) -> Any:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _absolute_if_a_folder(value: str) -> str:
    return value if "://" in value else str(Path(value).expanduser().absolute())


CommaSeparated = BeforeValidator(_split)
"""A list whose items are separated by commas in the environment; it needs `NoDecode`, else JSON is expected."""

StorageUrl = Annotated[str, AfterValidator(_absolute_if_a_folder)]
"""A folder, or an fsspec URL."""
