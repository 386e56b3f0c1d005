"""An API process for the measurements of the service, on a new database, and a worker's side of it."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import ours

from cpt_client.embedded.stack import free_port

LONG = {"training": {"steps": 1_000_000, "batch_size": 32}}


@dataclass(frozen=True)
class Api:
    """A running API process."""

    url: str
    token: str
    http: httpx.Client
    pid: int


@contextlib.contextmanager
def api(database_url: str) -> Iterator[Api]:
    """`python -m api` on this database, which is migrated first. Redis is away, as it may be."""
    port, token = free_port(0), secrets.token_urlsafe(32)
    folder = tempfile.mkdtemp(prefix="cpt-bench-")
    environment = os.environ | {
        "CPT_DATABASE_URL": database_url,
        "CPT_BROKER_URL": "redis://127.0.0.1:1/0",
        "CPT_AGENT_TOKEN": token,
        "CPT_PORT": str(port),
        "CPT_AUTH": "off",
        "CPT_STORAGE_URL": f"{folder}/storage",
    }
    command = [sys.executable, "-m", "api"]
    subprocess.run([*command, "migrate"], env=environment, check=True, stderr=subprocess.DEVNULL)
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        with httpx.Client(base_url=url, trust_env=False, timeout=60) as http:
            deadline = time.monotonic() + 60
            while not _ready(http):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError("the API does not start")
                time.sleep(0.05)
            yield Api(url, token, http, process.pid)
    finally:
        process.terminate()
        process.wait(20)
        shutil.rmtree(folder)


def _ready(http: httpx.Client) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return http.get("/readyz").status_code == 200
    return False


class Attempt:
    """A worker's hold on a new job."""

    def __init__(self, api: Api) -> None:
        self._http = api.http
        self.job = api.http.post("/v1/jobs", json=ours.SPEC | LONG).raise_for_status().json()["id"]
        claim = {
            "claim_id": secrets.token_hex(16),
            "worker": "bench",
            "queue": "default",
            "device": "cpu",
            "devices": 2,
        }
        held = api.http.post("/v1/agent/claim", json=claim, headers={"Authorization": f"Bearer {api.token}"})
        assert held.raise_for_status().json()["job_id"] == self.job
        self._headers = {"Authorization": f"Bearer {held.json()['token']}", "Content-Type": "application/json"}
        self._next = 1

    def append(self, records: list[bytes]) -> None:
        """Store records, each a JSON object."""
        body = b'{"first_seq":%d,"records":[%b]}' % (self._next, b",".join(records))
        path = f"/v1/agent/jobs/{self.job}/attempts/1/records"
        self._http.post(path, content=body, headers=self._headers).raise_for_status()
        self._next += len(records)
