"""Our service, as a user starts it: `cpt up` in a folder of its own, on SQLite with every commit on disk."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SPEC: dict[str, Any] = {
    "model": {"name": "resnet8"},
    "dataset": {"name": "digits"},
    "precision": {"schedule": "cosine", "cycles": 1},
    "training": {"steps": 1, "batch_size": 8},
}
"""The smallest training: one step on eight images."""


@contextmanager
def stack(**settings: str) -> Iterator[str]:
    """URL of a running stack; `settings` are environment variables without their `CPT_`."""
    with tempfile.TemporaryDirectory(prefix="cpt-bench-") as name:
        home = Path(name)
        variables = {f"CPT_{key.upper()}": value for key, value in settings.items()}
        process = subprocess.Popen(
            [sys.executable, "-m", "cpt_client", "up", "--home", name, "--port", "0"],
            env=os.environ | variables,
            stdout=subprocess.DEVNULL,
        )
        try:
            while not (home / "ready.json").exists():
                if process.poll() is not None:
                    raise RuntimeError(f"cpt up ended with exit code {process.returncode}")
                time.sleep(0.05)
            yield json.loads((home / "ready.json").read_text())["url"]
        finally:
            process.terminate()
            process.wait()
