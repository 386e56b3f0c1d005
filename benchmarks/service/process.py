"""What an API process weighs, and how soon it serves: resident memory after a hundred requests, seconds to `/readyz`.

`python benchmarks/service/process.py` prints JSON.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import ours
import psutil

from cpt_client.embedded.stack import free_port


def start(folder: Path) -> tuple[float, float]:
    """Seconds from starting an API to its readiness, and its MiB of resident memory after a hundred requests."""
    port = free_port(0)
    environment = os.environ | {
        "CPT_DATABASE_URL": f"sqlite:///{folder}/cpt.db",
        "CPT_AGENT_TOKEN": "a-token-of-this-benchmark",
        "CPT_PORT": str(port),
        "CPT_AUTH": "off",
        "CPT_STORAGE_URL": f"{folder}/storage",
    }
    subprocess.run([sys.executable, "-m", "api", "migrate"], env=environment, check=True, stdout=sys.stderr)
    began = time.perf_counter()
    with subprocess.Popen([sys.executable, "-m", "api"], env=environment, stderr=subprocess.DEVNULL) as process:
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
                while not _ready(client):
                    time.sleep(0.01)
                seconds = time.perf_counter() - began
                for _ in range(50):
                    client.post("/v1/jobs", json=ours.SPEC).raise_for_status()
                    client.get("/v1/jobs").raise_for_status()
            return seconds, psutil.Process(process.pid).memory_info().rss / 2**20
        finally:
            process.terminate()


def _ready(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False


def main() -> None:
    found = []
    for _ in range(5):
        with tempfile.TemporaryDirectory(prefix="cpt-bench-") as name:
            found.append(start(Path(name)))
    seconds, mib = (statistics.median(column) for column in zip(*found, strict=True))
    print(json.dumps({"start_seconds": seconds, "resident_mib": mib}))


if __name__ == "__main__":
    main()
