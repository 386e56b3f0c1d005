"""Files of a real job: on an S3 server, resumed by a worker that never saw them, and read through the API."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from cpt_core.storage import open_storage
from tests.e2e.stack import Stack, spec, until


@pytest.fixture
def stack_on_s3(s3_storage: str, tmp_path: Path) -> Iterator[Stack]:
    """Everything up, its files in a bucket."""
    stack = Stack(tmp_path, f"sqlite:///{tmp_path}/cpt.db")
    stack.env["CPT_STORAGE_URL"] = s3_storage
    try:
        stack.start_all()
        yield stack
    finally:
        stack.close()


def test_another_worker_resumes_from_the_bucket_and_the_weights_are_those_of_an_unbroken_run(
    stack_on_s3: Stack, s3_storage: str, undisturbed: Path
) -> None:
    stack = stack_on_s3
    document = spec()
    document["checkpoint"]["keep_last"] = 1  # so that the second attempt drops the first one's however far that came
    job_id = stack.submit(document)
    until(lambda: stack.job(job_id)["checkpoint"], "a checkpoint")
    stack.running["worker"].send_signal(signal.SIGTERM)
    stack.running.pop("worker").wait()
    stack.start_worker("another")
    job = stack.wait_for_state(job_id, "succeeded")
    assert job["attempt"] == 2
    assert not stack.storage.exists()

    newest = stack.http.get(f"/v1/jobs/{job_id}/checkpoints").json()["data"][0]
    weights = stack.http.get(f"/v1/jobs/{job_id}/checkpoints/{newest['id']}/weights", follow_redirects=True)
    assert weights.history[0].status_code == 307
    assert weights.content == (undisturbed / "model.safetensors").read_bytes()

    def logs() -> set[str]:
        return {item["name"] for item in stack.http.get(f"/v1/jobs/{job_id}/artifacts").json()["data"]}

    until(lambda: not any(_is_old(s3_storage, job_id)), "the first attempt's checkpoints to go")
    assert logs() <= {f"attempt-{n}/{name}.log" for n in (1, 2) for name in ("launcher", "rank-0", "rank-1")}


def _is_old(storage_url: str, job_id: str) -> Iterator[bool]:
    for step in (10, 20, 30, 40):
        try:
            open_storage(storage_url).size(f"checkpoints/{job_id}/1/step-{step:08d}/manifest.json")
        except Exception:
            yield False
        else:
            yield True
