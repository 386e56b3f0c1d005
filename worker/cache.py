"""Unpacked datasets, and what was worked out from data once: kept on this machine for later attempts, within a limit.

    CACHE/datasets/DIGEST/NAME/…     an uploaded dataset, see `cpt_core.uploads`
    CACHE/….safetensors              see `cpt_core.data.cache`

All workers with one state folder share it. Who uses a dataset has a shared lock on its folder, which the kernel gives
back when the process dies, however that happens; only what nobody has locked is deleted.
"""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from cpt_core.uploads import Upload, root_of

log = logging.getLogger(__name__)

_DOOMED = ".doomed-"


@dataclass(frozen=True, slots=True)
class _Entry:
    """A dataset or a file."""

    path: Path
    used: float
    size: int


class Cache:
    """The cache of one machine. Thread-safe."""

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self.folder, self._limit = folder, limit_bytes
        self._sizes: dict[tuple[Path, ...], int] = {}

    @contextmanager
    def use(self, upload: Upload | None) -> Iterator[None]:
        """Keep a dataset, there already or to be fetched now, from being deleted. Makes room for it before.

        Raises:
            OSError: the folder cannot be made.
        """
        (self.folder / "datasets").mkdir(parents=True, exist_ok=True)
        held = None
        try:
            with self._alone():
                if upload is not None:
                    held = self._hold(root_of(self.folder, upload))
                missing = upload is not None and not (root_of(self.folder, upload) / upload.name).is_dir()
                needed = upload.unpacked + upload.size if upload is not None and missing else 0
                doomed = [self._doom(entry) for entry in self._superfluous(needed)]
            for path in (*doomed, *self._left_over()):
                shutil.rmtree(path, ignore_errors=True)
            yield
        finally:
            if held is not None:
                with suppress(OSError):
                    os.utime(held)
                os.close(held)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Nobody begins to use anything while another decides what goes."""
        fd = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    def _hold(self, root: Path) -> int:
        root.mkdir(exist_ok=True)
        fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(fd, fcntl.LOCK_SH)
        os.utime(fd)
        return fd

    def _superfluous(self, needed: int) -> Iterator[_Entry]:
        """What has to go so that so many bytes more are within the limit, as far as it may."""
        entries = sorted(self._entries(), key=lambda entry: entry.used)
        excess = sum(entry.size for entry in entries) + needed - self._limit
        for entry in entries:
            if excess <= 0:
                return
            if not _is_used(entry.path):
                excess -= entry.size
                yield entry

    def _entries(self) -> Iterator[_Entry]:
        for path in (*(self.folder / "datasets").iterdir(), *self.folder.glob("*.safetensors")):
            with suppress(FileNotFoundError):  # a file that another worker's rank has replaced
                yield _Entry(path, path.stat().st_mtime, self._size(path))

    def _size(self, path: Path) -> int:
        if path.is_file():
            return path.stat().st_size
        key = (path, *sorted(path.iterdir()))
        if key not in self._sizes:
            size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
            if any(part.suffix == ".partial" for part in key):  # all others are whole, and never change
                return size
            self._sizes[key] = size
        return self._sizes[key]

    def _doom(self, entry: _Entry) -> Path:
        """Move it out of the way, which takes no time, so that deleting it may."""
        log.info("the cache lets go of %s, %d bytes", entry.path.name, entry.size)
        doomed = self.folder / f"{_DOOMED}{secrets.token_hex(6)}"
        doomed.mkdir()
        entry.path.rename(doomed / entry.path.name)
        return doomed

    def _left_over(self) -> list[Path]:
        """What another worker could not delete any more."""
        return list(self.folder.glob(f"{_DOOMED}*"))


def _is_used(path: Path) -> bool:
    if path.is_file():  # whoever has opened it keeps it
        return False
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False
