"""Jobs with files, as a worker makes them."""

from __future__ import annotations

from typing import Any

import httpx2
import numpy as np
from fastapi.testclient import TestClient
from safetensors.numpy import save

from cpt_core.checkpoint.files import publish
from cpt_core.events import BestCheckpoint, Checkpoint
from cpt_core.spec import JobSpec
from cpt_core.storage import best_folder, checkpoint_folder, open_storage
from tests.api.agent import append
from tests.api.conftest import Claim
from tests.api.factories import spec_document, started


class Attempt:
    """A claimed job whose records follow each other."""

    def __init__(self, client: TestClient, claim: Claim, storage_url: str, letter: str = "a", **changes: Any) -> None:
        self.client, self.storage_url = client, storage_url
        if letter == "a":
            answer = client.post("/v1/jobs", json=spec_document(**changes))
            assert answer.status_code == 201, answer.text
        claimed = claim(letter)
        assert claimed is not None
        self.assignment = claimed
        self.job_id: str = claimed["job_id"]
        self.number: int = claimed["attempt"]
        self._sent = 0
        self.report(started())

    def report(self, *records: Any) -> None:
        answer = append(self.client, self.assignment, self._sent + 1, records)
        assert answer.status_code == 200, answer.text
        self._sent += len(records)

    def save(self, step: int, *, best: bool = False, report: bool = True, **files: bytes) -> Checkpoint:
        """Write a real checkpoint, and register it."""
        folder = best_folder(self.job_id) if best else checkpoint_folder(self.job_id, self.number)
        content = {"model.safetensors": model(step), "optimizer.safetensors": model(0)}
        content |= {f"{name}.safetensors": data for name, data in files.items()}
        spec = JobSpec.model_validate(self.assignment["spec"])
        checkpoint = publish(self.storage_url, folder, step=step, world_size=1, spec=spec, files=content)
        if report:
            fields = checkpoint.model_dump(exclude={"type"})
            self.report(BestCheckpoint(**fields) if best else checkpoint)
        return checkpoint

    def log(self, offset: int, data: bytes, *, rank: int = 0, token: str | None = None) -> httpx2.Response:
        """Send a piece of a rank's output."""
        return self.client.put(
            f"/v1/agent/jobs/{self.job_id}/attempts/{self.number}/logs/{rank}",
            params={"offset": offset},
            content=data,
            headers={
                "Authorization": f"Bearer {token or self.assignment['token']}",
                "Content-Type": "application/octet-stream",
            },
        )

    def get(self, path: str, **kwargs: Any) -> httpx2.Response:
        return self.client.get(f"/v1/jobs/{self.job_id}/{path}", **kwargs)


def model(seed: int, *names: str) -> bytes:
    """A safetensors file."""
    tensors = {name: np.full((4, 4), seed, dtype=np.float32) for name in names or ("fc.weight", "bn.mean")}
    return save(tensors)


def stored(storage_url: str, path: str) -> bool:
    """Whether the storage has a file."""
    try:
        open_storage(storage_url).size(path)
    except Exception:
        return False
    return True
