"""A worker's side of append, over HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import httpx2
from fastapi.testclient import TestClient

from cpt_core.events import AnyEvent


def append(
    client: TestClient,
    assignment: dict[str, Any],
    first_seq: int,
    records: Sequence[AnyEvent],
    token: str | None = None,
) -> httpx2.Response:
    """Post records of an attempt."""
    return client.post(
        f"/v1/agent/jobs/{assignment['job_id']}/attempts/{assignment['attempt']}/records",
        json={"first_seq": first_seq, "records": [record.model_dump(mode="json") for record in records]},
        headers={"Authorization": f"Bearer {token or assignment['token']}"},
    )
