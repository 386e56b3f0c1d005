"""A `cpt up` for tests."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import psutil

from tests.client.conftest import wait_for


class Up:
    """A `cpt up` that serves."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.told = home.with_name(home.name + ".out")
        with self.told.open("ab") as out:
            self.process = subprocess.Popen(up_command(home), stdout=out, stderr=out)
        wait_for(self._is_ready, "the service is ready")
        ready = json.loads((home / "ready.json").read_text())
        self.url, self.pid = ready["url"], ready["pid"]

    def _is_ready(self) -> bool:
        assert self.process.poll() is None, self.told.read_text()
        return (self.home / "ready.json").exists()

    def tree(self) -> list[psutil.Process]:
        """The supervisor and everything below it."""
        supervisor = psutil.Process(self.pid)
        return [supervisor, *supervisor.children(recursive=True)]

    def child(self, module: str) -> psutil.Process:
        return next(child for child in self.tree()[1:] if module in child.cmdline() or module in child.name())

    def end(self, number: signal.Signals) -> tuple[int, list[psutil.Process]]:
        """Send the signal to the supervisor; answers its exit code and what is left of its tree soon after."""
        tree = self.tree()
        self.process.send_signal(number)
        code = self.process.wait(timeout=90)
        _gone, left = psutil.wait_procs(tree, timeout=10)
        return code, left


def up_command(home: Path, port: int = 0) -> list[str]:
    return [sys.executable, "-m", "cpt_client", "up", "--home", str(home), "--port", str(port)]
