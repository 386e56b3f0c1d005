"""How the launcher of an attempt comes to be: started as a program, or forked from a process that is ready."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import psutil

from cpt_core.forkserver import LARGEST_MESSAGE
from cpt_core.process import with_room_for_a_mark
from worker.settings import environment_of_training

log = logging.getLogger(__name__)

_READY_SECONDS = 120.0
_ANSWER_SECONDS = 10.0


class Launcher(Protocol):
    """The process at the head of an attempt's tree, in a session and process group of its own."""

    @property
    def pid(self) -> int:
        """Its process id, its own until it is reaped."""

    @property
    def ended(self) -> bool:
        """It is not running any more."""

    def reap(self) -> int:
        """Wait for its end. Returns the exit code, or minus the signal that ended it."""


class Spawned:
    """A launcher started as a program. It should ask for a signal at the death of the thread that made it."""

    def __init__(self, command: Sequence[str], *, environment: Mapping[str, str], folder: Path, output: Path) -> None:
        """Start `command` in `folder`, what it writes appended to `output`.

        Raises:
            OSError: it cannot be started.
        """
        with output.open("ab") as file:
            self._process = subprocess.Popen(
                command,
                env=dict(environment),
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.pid = self._process.pid

    @property
    def ended(self) -> bool:
        """It is not running any more; it is not reaped, so that its id stays its own."""
        return (
            self._process.returncode is not None
            or os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        )

    def reap(self) -> int:
        """Wait for its end. Returns the exit code, or minus the signal that ended it."""
        return self._process.wait()


class ForkServer:
    """A process with torch and the trainer in memory, from which launchers are forked. Thread-safe.

    It dies with the thread that makes it; make it in one that lives as long as the worker. Should it be lost, launchers
    are started as programs again: slower, nothing else.
    """

    def __init__(self) -> None:
        """Start it; it is ready some seconds later.

        Raises:
            OSError: it cannot be started.
        """
        self._lock = threading.Lock()
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "cpt_core.forkserver", str(theirs.fileno()), str(os.getpid())],
                env=with_room_for_a_mark(environment_of_training()),
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self._lost = False
        self._used = False

    def launch(
        self, run_file: Path, *, nproc: int, run_id: str, log_dir: Path, environment: Mapping[str, str], output: Path
    ) -> Forked | None:
        """A launcher as `cpt_core.launch.command` would start it, in the folder of `output`; None: start it so.

        Raises:
            OSError: `output` cannot be opened.
        """
        request = {
            "run_file": str(run_file),
            "nproc": nproc,
            "run_id": run_id,
            "log_dir": str(log_dir),
            "folder": str(output.parent),
            "environment": dict(environment),
        }
        with output.open("ab") as file:
            answer = self._ask({"launch": request}, [file.fileno()])
        return Forked(answer["pid"], self) if answer else None

    def exit_code(self, pid: int) -> int | None:
        """The exit code of a launcher that has ended, or minus the signal that ended it; None: the server is lost."""
        answer = self._ask({"reap": pid}, [])
        return answer["exit_code"] if answer else None

    def _ask(self, request: dict[str, Any], files: list[int]) -> dict[str, Any] | None:
        with self._lock:
            if self._lost:
                return None
            self._control.settimeout(_ANSWER_SECONDS if self._used else _READY_SECONDS)
            try:
                socket.send_fds(self._control, [json.dumps(request).encode()], files)
                answer = self._control.recv(LARGEST_MESSAGE)
            except OSError as error:
                answer, cause = b"", str(error)
            else:
                cause = "it has ended"
            if not answer:
                log.warning("the fork server is lost (%s): launchers start as programs from now on", cause)
                self._lost = True
                self._process.kill()  # and with it what it may have forked for us to never hear of
                return None
            self._used = True
            found: dict[str, Any] = json.loads(answer)
            return found

    def close(self) -> None:
        """End the server, and whatever it has forked."""
        self._control.close()
        self._process.kill()
        self._process.wait()


class Forked:
    """A launcher forked from the server."""

    def __init__(self, pid: int, server: ForkServer) -> None:
        self.pid = pid
        self._server = server
        with contextlib.suppress(psutil.NoSuchProcess):
            self._process: psutil.Process | None = None
            self._process = psutil.Process(pid)

    @property
    def ended(self) -> bool:
        """It is not running any more; the server has not reaped it, so that its id stays its own."""
        if self._process is None or not self._process.is_running():  # the server is gone, and it with the server
            return True
        try:
            return self._process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
        except psutil.NoSuchProcess:
            return True

    def reap(self) -> int:
        """Its exit code, or minus the signal that ended it: KILL if it went with the server."""
        code = self._server.exit_code(self.pid)
        return -signal.SIGKILL if code is None else code
