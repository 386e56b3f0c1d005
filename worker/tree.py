"""The processes of one attempt: the launcher, its ranks, their data workers. Found and killed here.

torchrun gives each rank a session of its own, so a process group does not hold them together. Every descendant
inherits an environment variable instead, by which it is found wherever it went.
"""

from __future__ import annotations

import os
import signal
import sys
import time

import psutil

from cpt_core.process import MARK, RANK_NAME
from worker.launchers import Launcher

_EXEC_SECONDS = 0.02


def members(mark: str, group: int | None = None) -> list[psutil.Process]:
    """Living processes that carry `mark` in their environment, or belong to the process group. Zombies are dead."""
    return [process for process in psutil.process_iter() if _belongs(process, mark, group)]


def _belongs(process: psutil.Process, mark: str, group: int | None) -> bool | None:
    """Whether the process is a living member; None: it shows no environment yet, as while it is in its exec."""
    try:
        environment = None if group is not None and os.getpgid(process.pid) == group else process.environ()
        if environment == {}:
            return None if process.exe() else False  # the kernel's own threads have no program, nor have the dead
        if environment is not None and environment.get(MARK) != mark:
            return False
        # Last, and so asked of few.
        return process.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except (psutil.Error, OSError):  # it is gone, or another user's
        return False


def kill(mark: str, group: int | None = None) -> None:
    """Send KILL to every member, found by one look."""
    for process in members(mark, group):
        try:
            process.kill()
        except psutil.Error:
            continue


def is_gone(mark: str, group: int | None = None) -> bool:
    """No member is alive.

    Looks twice: what a process has started that ended during the first look may have come too late for it. If a process
    shows no environment yet, it waits in between.
    """
    found = {_belongs(process, mark, group) for process in psutil.process_iter()}
    if True in found:
        return False
    if None in found:
        time.sleep(_EXEC_SECONDS)
    return not members(mark, group)


class Tree:
    """One attempt's launcher and everything below it."""

    def __init__(self, launcher: Launcher, mark: str) -> None:
        """`mark` is in the environment of the launcher and of all that it starts."""
        self._launcher = launcher
        self._mark = mark
        self._code: int | None = None
        self._gone = False
        self._end = _end_of(launcher.pid)

    @property
    def launcher_ended(self) -> bool:
        """The launcher is not running any more. It is not reaped, so that its id stays its own."""
        return self._code is not None or self._launcher.ended

    @property
    def ending(self) -> int | None:
        """A descriptor that can be read from once the launcher ends; None: it has, or there is no such descriptor."""
        return None if self.launcher_ended else self._end

    @property
    def gone(self) -> bool:
        """No process of the tree is left, and so none can come any more."""
        if not self._gone:
            self._gone = self.launcher_ended and is_gone(self._mark, self._launcher.pid)
        return self._gone

    def terminate(self) -> None:
        """Ask the launcher, and it alone, to end: it passes the wish on to its ranks and waits for them."""
        if not self.launcher_ended:
            os.kill(self._launcher.pid, signal.SIGTERM)

    def kill(self) -> None:
        """Send KILL to whatever lives; ask `gone` afterwards, and repeat until it is."""
        kill(self._mark, self._launcher.pid)

    def reap(self) -> int:
        """The launcher's exit code, or minus the signal that ended it. Only once the tree is gone."""
        self._code = self._launcher.reap()
        return self._code

    def close(self) -> None:
        """Give the descriptor back."""
        if self._end is not None:
            os.close(self._end)
            self._end = None

    def ranks(self) -> dict[int, int]:
        """Process ids of the living ranks, by rank. Their names tell it; a single rank is a while without one."""
        found = {}
        for process in members(self._mark):
            try:
                name, parent = process.name(), process.ppid()
            except psutil.Error:
                continue
            if parent == self._launcher.pid:  # not that of data workers, which inherit the name
                found[int(name.removeprefix(RANK_NAME)) if name.startswith(RANK_NAME) else 0] = process.pid
        return dict(sorted(found.items()))


def _end_of(pid: int) -> int | None:
    """A descriptor that can be read from once the process ends, where the system has such."""
    try:
        return os.pidfd_open(pid) if sys.platform == "linux" else None
    except OSError:
        return None
