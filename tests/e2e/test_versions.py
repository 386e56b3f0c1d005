"""An upgrade under running jobs, by the book: two versions of the API at once, and a worker one version behind.

The version before is the code as it was before the newest revision of the schema came in, from git's history.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from cpt_client.embedded.stack import free_port
from tests.chaos.proxy import Proxy
from tests.e2e.stack import Stack, spec

ROOT = Path(__file__).parents[2]
PACKAGES = ["api", "cpt_client", "cpt_core", "migrations", "worker"]
STEPS = 200


@pytest.fixture(scope="module")
def code_before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the packages of the version before."""
    newest = max((ROOT / "migrations/versions").glob("0*.py"))
    added = _git("log", "--diff-filter=A", "--format=%H", "-1", "--", str(newest)).decode().strip()
    if not added or not _git("rev-parse", "--verify", "--quiet", f"{added}^"):
        pytest.skip("the version before is in git's history, which this copy of the project does not have")
    folder = tmp_path_factory.mktemp("before")
    subprocess.run(["tar", "-x", "-C", folder], input=_git("archive", f"{added}^", *PACKAGES), check=True)
    return folder


def _git(*arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=False).stdout


@dataclass
class Upgrade:
    """A service in the middle of one: clients and workers reach the APIs by `door`, a load balancer of sorts."""

    stack: Stack
    before: httpx.Client
    after: httpx.Client
    door: Proxy

    def lead_to(self, client: httpx.Client) -> None:
        """Whoever comes by the door comes to this API; those who are in have to come again."""
        self.door.target = client.base_url.port or 0
        self.door.cut()


@pytest.fixture
def upgrade(tmp_path: Path, empty_database_url: str, code_before: Path) -> Iterator[Upgrade]:
    """Everything of the version before up, and nothing of the newer one."""
    stack = Stack(tmp_path, empty_database_url)
    door = Proxy(stack.api_port)
    stack.env["CPT_API_URL"] = f"http://127.0.0.1:{door.port}"
    former = {"PYTHONPATH": os.pathsep.join(filter(None, [str(code_before), os.environ.get("PYTHONPATH", "")]))}
    with (
        httpx.Client(base_url=stack.url, timeout=15) as before,
        httpx.Client(base_url=f"http://127.0.0.1:{free_port(0)}", timeout=15) as after,
    ):
        try:
            stack.migrate(**former)
            stack.start_redis()
            stack.start_api("api-before", before, **former)
            stack.start_worker("worker-before", **former)
            yield Upgrade(stack, before, after, door)
        finally:
            stack.close()
            door.close()


def document(steps: int) -> dict[str, Any]:
    return spec(checkpoint=20, devices=1, training={"steps": steps, "batch_size": 8, "seed": 7})


def test_an_upgrade_by_the_book_loses_nothing_of_what_runs(upgrade: Upgrade) -> None:
    stack, before, after = upgrade.stack, upgrade.before, upgrade.after
    running = stack.submit(document(STEPS))
    stack.wait_for_step(running, 5)
    stack.migrate()
    stack.start_api("api-after", after)

    # Both serve the same jobs, whoever made them, and the worker's appends may come in by either.
    short, key = document(20), {"Idempotency-Key": "once"}
    waiting = before.post("/v1/jobs", json=short, headers=key).raise_for_status().json()["id"]
    assert after.post("/v1/jobs", json=short, headers=key).raise_for_status().json()["id"] == waiting
    newer = after.post("/v1/jobs", json=short | {"name": "of the newer"}).raise_for_status().json()["id"]
    listed = [{job["id"] for job in client.get("/v1/jobs").json()["data"]} for client in (before, after)]
    assert listed[0] == listed[1] == {running, waiting, newer}
    for client in (after, before, after):
        step = stack.job(running)["progress"]["step"]
        upgrade.lead_to(client)
        stack.wait_for_step(running, step + 5)
    after.post(f"/v1/jobs/{running}/pause").raise_for_status()
    assert stack.wait_for_state(running, "paused")["attempt"] == 1
    # A job that the newer API took is run by the worker of the version before.
    assert [stack.wait_for_state(job, "succeeded")["attempt"] for job in (waiting, newer)] == [1, 1]

    # The old API goes, then the old worker, whose job moves.
    before.post(f"/v1/jobs/{running}/resume").raise_for_status()
    saved = stack.job(running)["checkpoint"]["step"]
    stack.wait_for_step(running, saved + 25, attempt=2)
    stack.running["api-before"].terminate()
    assert stack.running.pop("api-before").wait(30) in (0, -signal.SIGTERM)
    stack.http = after
    stack.start_worker("worker-after")
    stack.running["worker-before"].terminate()
    assert stack.running.pop("worker-before").wait(60) == 0
    job = stack.wait_for_state(running, "succeeded")
    assert job["attempt"] == 3
    assert [event["resume_step"] > saved for event in stack.events(running, "started")[2:]] == [True]
    assert [row["step"] for row in stack.metrics(running)] == list(range(STEPS))
    ends = [(event["state"], event.get("reason")) for event in stack.events(running, "state")]
    assert ("queued", "preempted") in ends, ends
