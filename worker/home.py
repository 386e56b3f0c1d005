"""Where a worker keeps what its attempts need: `state_dir/<worker>/<job>-<attempt>/`.

A worker holds a lock on its folder as long as it lives. The kernel gives the lock back when the process dies, however
that happens, and so tells the next worker what is left over.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from worker import tree

log = logging.getLogger(__name__)

_LOCK = "lock"
_KILL_SECONDS = 10.0


class Home:
    """The folder of one living worker.

    Raises:
        OSError: it cannot be made.
        ValueError: a living worker of the same name has it.
    """

    def __init__(self, state_dir: Path, name: str) -> None:
        state_dir.mkdir(parents=True, exist_ok=True)
        self.path = state_dir / name
        with _alone(state_dir):
            self.path.mkdir(exist_ok=True)
            lock = _try_lock(self.path / _LOCK)
            if lock is None:
                raise ValueError(f"a worker named {name} is running already: choose another CPT_NAME")
            self._lock = lock
            _clear(self.path)
            for other in state_dir.iterdir():
                if other.is_dir() and other != self.path:
                    _remove_if_dead(other)

    def attempt(self, mark: str) -> Path:
        """A new, empty folder for the attempt.

        Raises:
            OSError: it cannot be made.
            ValueError: `mark` is no name for a folder.
        """
        if mark != Path(mark).name or mark in ("", ".", "..", _LOCK):
            raise ValueError(f"{mark!r} cannot be the name of a folder")
        folder = self.path / mark
        folder.mkdir(mode=0o700)
        return folder

    def close(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


@contextlib.contextmanager
def _alone(state_dir: Path) -> Iterator[None]:
    """Keeps a starting worker from clearing the folder of another that has not locked it yet."""
    fd = os.open(state_dir / ".starting", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _try_lock(path: Path) -> int | None:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd


def _remove_if_dead(home: Path) -> None:
    if not (home / _LOCK).is_file():  # not a worker's folder
        return
    lock = _try_lock(home / _LOCK)
    if lock is None:
        return
    try:
        log.info("clearing what the worker %s left behind", home.name)
        _clear(home)
        shutil.rmtree(home, ignore_errors=True)
    finally:
        os.close(lock)


def _clear(home: Path) -> None:
    """Kill what is left of a dead worker's attempts, and delete their folders."""
    for folder in home.iterdir():
        if not folder.is_dir():
            continue
        until = time.monotonic() + _KILL_SECONDS
        while not tree.is_gone(folder.name) and time.monotonic() < until:
            tree.kill(folder.name)
        shutil.rmtree(folder, ignore_errors=True)
