"""One child process: started so that it cannot outlive its parent, logged to a file, started again when it dies."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from cpt_client.embedded.services import Service

ALERT = re.compile(r"\b(WARNING|ERROR|CRITICAL)\b")
"""Lines of a log that belong on the terminal."""

LOG_LIMIT = 10_000_000
"""Bytes of a log file beyond which it is set aside when its child starts."""

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
"""Seconds before a dead child is started again: doubling from the first to the longest."""

SETTLED = 60.0
"""Seconds after which a child counts as well again."""


class Child:
    """A service's process, present or past. Start it in the main thread: PDEATHSIG follows the thread that starts."""

    def __init__(self, service: Service, logs: Path) -> None:
        self.service = service
        self.log = logs / f"{service.name}.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._begin, self._read = 0, 0
        self._started = 0.0
        self._pause = FIRST_PAUSE
        self._restart_at: float | None = None

    def start(self) -> None:
        """Start the process, in a session of its own: a Ctrl-C in the terminal is the supervisor's to pass on."""
        if self.log.exists() and self.log.stat().st_size > LOG_LIMIT:
            self.log.replace(self.log.with_suffix(".log.1"))
        self._begin = self._read = self.log.stat().st_size if self.log.exists() else 0
        self._started, self._restart_at = time.monotonic(), None
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "cpt_client.embedded.bound", str(os.getpid()), *self.service.command],
                env=dict(self.service.env),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def exit_code(self) -> int | None:
        """The exit code of the process; null while it runs."""
        return self._process.poll() if self._process is not None else None

    def tend(self) -> str | None:
        """Start a dead process again after a pause; answers a sentence for people when it has just died."""
        code = self.exit_code()
        if code is None:
            return None
        now = time.monotonic()
        if self._restart_at is None:
            if now - self._started > SETTLED:
                self._pause = FIRST_PAUSE
            pause, self._pause = self._pause, min(2 * self._pause, LONGEST_PAUSE)
            self._restart_at = now + pause
            return f"{self.service.name} {describe(code)}; starting it again in {pause:.0f} s (log: {self.log})"
        if now >= self._restart_at:
            self.start()
        return None

    def end(self, hurry: Callable[[], bool] = lambda: False) -> bool:
        """Ask the process to end and wait for it; kill it after its grace, or as soon as `hurry` says so.

        Returns:
            Whether it had to be killed.
        """
        process = self._process
        if process is None:
            return False
        process.terminate()
        deadline = time.monotonic() + self.service.grace
        while process.poll() is None and time.monotonic() < deadline and not hurry():
            time.sleep(0.1)
        killed = process.poll() is None
        process.kill()
        process.wait()
        return killed

    def alerts(self) -> Iterator[str]:
        """Warnings and errors written to the log since last asked."""
        if not self.service.alerts or not self.log.exists():
            return
        with self.log.open("rb") as log:
            log.seek(self._read)
            for line in log:
                if not line.endswith(b"\n"):
                    break
                self._read += len(line)
                text = line.decode("utf-8", errors="replace").rstrip()
                if ALERT.search(text):
                    yield text

    def tail(self, count: int = 15) -> list[str]:
        """The last lines that the present process wrote."""
        with self.log.open("rb") as log:
            log.seek(self._begin)
            return log.read().decode("utf-8", errors="replace").splitlines()[-count:]


def describe(code: int) -> str:
    """An exit code in words: "ended with exit code 1", "was killed by SIGKILL"."""
    return f"ended with exit code {code}" if code >= 0 else f"was killed by {signal.Signals(-code).name}"
