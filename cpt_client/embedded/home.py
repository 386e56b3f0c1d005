"""The folder in which an embedded service keeps everything, and the lock that makes it one service's."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


class AlreadyRunningError(Exception):
    """Another supervisor holds this home; the message says where it serves."""


@dataclass(frozen=True)
class Home:
    """Paths below the folder. Everything survives a restart; deleting the folder deletes the service's memory."""

    root: Path

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self.root / "cpt.db"

    @property
    def storage(self) -> Path:
        """Checkpoints, logs and uploaded datasets."""
        return self.root / "storage"

    @property
    def data(self) -> Path:
        """Datasets, unless another data root is given."""
        return self.root / "data"

    @property
    def broker(self) -> Path:
        """The broker's append-only file and its configuration."""
        return self.root / "broker"

    @property
    def worker(self) -> Path:
        """Spools of running attempts."""
        return self.root / "worker"

    @property
    def logs(self) -> Path:
        """One log file a child."""
        return self.root / "logs"

    @property
    def ready(self) -> Path:
        """`{url, pid}` while the service answers."""
        return self.root / "ready.json"

    def prepare(self) -> None:
        """Make the folders; only their owner may look inside."""
        for folder in (self.root, self.storage, self.data, self.broker, self.worker, self.logs):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def secret(self, name: str) -> str:
        """The secret of this name, made at random when first asked for, in a file only its owner may read."""
        path = self.root / f"{name}.secret"
        if not path.exists():
            write_private(path, secrets.token_urlsafe(32))
        return path.read_text(encoding="ascii")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Be the only supervisor of this home. The lock goes with the process, however it ends.

        Raises:
            AlreadyRunningError: there is one.
        """
        with (self.root / "lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise AlreadyRunningError(self._where()) from None
            self.ready.unlink(missing_ok=True)
            yield

    def _where(self) -> str:
        try:
            ready = json.loads(self.ready.read_text(encoding="utf-8"))
            return f"the service of {self.root} runs already: {ready['url']} (process {ready['pid']})"
        except (OSError, ValueError, KeyError):
            return f"the service of {self.root} is starting or stopping in another process"


def write_private(path: Path, content: str) -> None:
    """Write a file that only its owner may read; it appears complete or not at all."""
    partial = path.with_name(path.name + ".partial")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
