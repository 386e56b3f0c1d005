"""Every change is in the audit log: who, what, to what, when and from where."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text, update

from api.audit.models import AuditEntry
from api.audit.sweeper import AuditSweeper
from api.db import Database
from tests.api.conftest import Keyed, serving
from tests.api.factories import spec_document
from tests.api.surface import ACTIONS_BEFORE, make_objects, operations
from tests.worker.waiting import until


def entries(keyed: Keyed, headers: dict[str, str], query: str = "") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = keyed.client.get(f"/v1/audit{query or '?limit=1000'}", headers=headers).json()["data"]
    return found


def test_every_change_that_a_client_can_make_leaves_one_entry(keyed: Keyed) -> None:
    operator = keyed.key("operator")
    own = keyed.client.get("/v1/keys/self", headers=operator).json()
    for operation in operations(keyed.client.app):
        if operation.method == "GET":
            continue
        objects = make_objects(keyed.client, operator, f"for-{operation.name}".replace("_", "-"), "default")
        for action in ACTIONS_BEFORE.get(operation.name, ()):
            assert keyed.client.post(f"/v1/jobs/{objects['job_id']}/{action}", headers=operator).is_success
        before = len(entries(keyed, operator))
        request_id = f"test-{operation.name}"
        answer = operation.ask(keyed.client, objects, operator | {"X-Request-Id": request_id})
        assert answer.is_success, (operation, answer.text)
        found = entries(keyed, operator)
        assert len(found) - before == int(operation.is_change), operation
        if not operation.is_change:
            continue
        assert abs(datetime.fromisoformat(found[0].pop("time")) - datetime.now(UTC)) < timedelta(minutes=5)
        target = operation.url(objects).split("/")[3] if "{" in operation.path else answer.json()["id"]
        assert found[0] == {
            "id": found[0]["id"],
            "object": "audit_entry",
            "project": "default",
            "actor": own["name"],
            "key": own["id"],
            "action": operation.name,
            "target": target,
            "address": "testclient",
            "request_id": request_id,
        }


def test_what_changed_nothing_leaves_no_entry(keyed: Keyed) -> None:
    admin = keyed.key("admin")
    once = admin | {"Idempotency-Key": "once"}
    made = keyed.client.post("/v1/jobs", json=spec_document(), headers=once).json()
    keyed.client.post(f"/v1/jobs/{made['id']}/cancel", headers=admin)
    before = entries(keyed, admin)
    assert keyed.client.post("/v1/jobs", json=spec_document(), headers=once).status_code == 201  # replayed
    assert keyed.client.post("/v1/jobs", json=spec_document(colour="red"), headers=admin).status_code == 422
    assert keyed.client.post("/v1/keys", json={"name": "x", "scope": "operator"}, headers=admin).status_code == 403
    assert entries(keyed, admin) == before


def test_the_entry_and_the_change_are_one_transaction(keyed: Keyed) -> None:
    """The entry cannot be written, so the change is not made either."""
    admin = keyed.key("admin")
    with keyed.services.database.write() as session:
        session.execute(text("ALTER TABLE audit_entries RENAME TO elsewhere"))
    assert keyed.client.post("/v1/jobs", json=spec_document(), headers=admin).status_code >= 500
    with keyed.services.database.write() as session:
        session.execute(text("ALTER TABLE elsewhere RENAME TO audit_entries"))
    assert keyed.client.get("/v1/jobs", headers=admin).json()["data"] == []


def test_the_log_is_read_page_by_page_and_by_action_and_target(keyed: Keyed) -> None:
    admin = keyed.key("admin")
    jobs = [keyed.client.post("/v1/jobs", json=spec_document(), headers=admin).json()["id"] for _ in range(3)]
    keyed.client.post(f"/v1/jobs/{jobs[0]}/cancel", headers=admin)
    assert [entry["action"] for entry in entries(keyed, admin, f"?target={jobs[0]}")] == ["cancel_job", "create_job"]
    assert [entry["target"] for entry in entries(keyed, admin, "?action=create_job&limit=2")] == jobs[:0:-1]
    first = keyed.client.get("/v1/audit?limit=3", headers=admin).json()
    rest = entries(keyed, admin, f"?cursor={first['next_cursor']}")
    assert [entry["target"] for entry in rest] == [jobs[0]]


def test_an_admin_reads_its_projects_log_and_an_operator_all(keyed: Keyed) -> None:
    for project in ("alpha", "beta"):
        keyed.project(project)
        keyed.client.post("/v1/jobs", json=spec_document(), headers=keyed.key("submit", project))
    assert {entry["project"] for entry in entries(keyed, keyed.key("admin", "alpha"))} == {"alpha"}
    operator = keyed.key("operator")
    assert {entry["project"] for entry in entries(keyed, operator)} == {"alpha", "beta"}
    assert {entry["project"] for entry in entries(keyed, operator, "?project=beta")} == {"beta"}


def test_without_keys_the_actor_is_local(client: TestClient) -> None:
    client.post("/v1/jobs", json=spec_document())
    [entry] = client.get("/v1/audit").json()["data"]
    assert (entry["actor"], entry["key"], entry["action"]) == ("local", None, "create_job")


def test_entries_are_deleted_by_age_alone(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.audit.sweeper.BATCH", 2)
    database: Database = client.app.state.services.database  # type: ignore[attr-defined]
    jobs = [client.post("/v1/jobs", json=spec_document()).json()["id"] for _ in range(5)]
    young = client.get("/v1/audit").json()["data"][0]
    with database.write() as session:
        for days, job in zip((400, 91, 90, 89), jobs, strict=False):
            old = update(AuditEntry).where(AuditEntry.object == job)
            session.execute(old.values(time=datetime.now(UTC) - timedelta(days=days)))
    AuditSweeper(database, 90).tick()
    left = client.get("/v1/audit").json()["data"]
    assert [entry["target"] for entry in left] == [jobs[4], jobs[3]]
    assert left[0] == young


@pytest.mark.parametrize("days", [None, 30])
def test_entries_are_kept_for_ever_by_default(
    sqlite_url: str, tmp_path: Path, days: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.app.SWEEP_SECONDS", 0.01)
    with serving(sqlite_url, tmp_path, auth="off") as client:
        client.post("/v1/jobs", json=spec_document())
        database: Database = client.app.state.services.database  # type: ignore[attr-defined]
        with database.write() as session:
            session.execute(update(AuditEntry).values(time=datetime(2000, 1, 1, tzinfo=UTC)))
    with serving(sqlite_url, tmp_path, auth="off", audit_days=days) as client:
        if days is None:
            assert "audit sweeper" not in [thread.name for thread in threading.enumerate()]
            assert len(client.get("/v1/audit").json()["data"]) == 1
        else:
            until(lambda: client.get("/v1/audit").json()["data"] == [])
