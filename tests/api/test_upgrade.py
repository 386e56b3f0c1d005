"""Upgrades: data of every earlier revision goes on; code of one version meets schema and messages of the next."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.script import ScriptDirectory
from fastapi.testclient import TestClient

from api.db import make_engine
from cpt_core.events import dump
from migrations import config, upgrade
from tests.api.agent import append
from tests.api.conftest import AGENT_TOKEN, serving
from tests.api.factories import STEPS, checkpoint, spec, started, step, succeeded

REVISIONS = sorted(script.revision for script in ScriptDirectory.from_config(config("sqlite://")).walk_revisions())
TOKEN = "the-token-of-an-attempt-before-the-upgrade"
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def job(pk: int, state: str, **columns: Any) -> dict[str, Any]:
    """A row of the table in any of its shapes: what a revision does not have is left out."""
    return {
        "pk": pk,
        "id": f"job_{pk:024x}",
        "project": "default",
        "name": "",
        "spec": spec().model_dump_json(),
        "request_digest": "0" * 64,
        "queue": "default",
        "priority": 0,
        "device": "auto",
        "devices": 1,
        "state": state,
        "cancel_requested": False,
        "pause_requested": False,
        "attempt": 0,
        "strikes": 0,
        "position": 1,
        "created_at": NOW,
        "queued_at": NOW,
        **columns,
    }


def data() -> dict[str, list[dict[str, Any]]]:
    """A job that waits, one that runs after a checkpoint, and one that has succeeded."""
    run = {
        "attempt": 1,
        "started_at": NOW,
        "last_started": dump(started()),
        "last_step": dump(step(4)),
        "last_checkpoint": dump(checkpoint(4)),
        "position": 8,
        "queued_at": None,
    }
    end = {"reason": "completed", "message": "", "finished_at": NOW, "result": succeeded().result.model_dump_json()}  # type: ignore[union-attr]
    metrics = [step(index).model_dump() for index in range(5)]
    entry = {"attempt": 1, "time": NOW}
    return {
        "jobs": [job(1, "queued"), job(2, "running", **run), job(3, "succeeded", **run, **end)],
        "attempts": [
            {
                "job": pk,
                "attempt": 1,
                "worker": "w",
                "claim_id": str(pk) * 32,
                "token_hash": hashlib.sha256(TOKEN.encode()).hexdigest(),
                "acked": 7,
                "beat": 3,
                "step": 5,
                "progressed": True,
                "claimed_at": NOW,
                "started_at": NOW,
                "ended_at": NOW if pk == 3 else None,
            }
            for pk in (2, 3)
        ],
        "events": [
            {"job": pk, "position": position, "type": record.type, "data": dump(record), **entry}
            for pk in (2, 3)
            for position, record in ((2, started()), (8, checkpoint(4)))
        ],
        "metrics": [
            {"job": pk, "position": 3 + number, **entry, **row} for pk in (2, 3) for number, row in enumerate(metrics)
        ],
    }


def insert(url: str, columns: dict[str, set[str]] | None = None) -> None:
    """Put the data into a database, in the columns that it has, or in those of `columns`."""
    engine = make_engine(url)
    tables = sa.MetaData()
    with engine.execution_options(cpt_write=True).begin() as connection:
        tables.reflect(connection)
        for name, rows in data().items():
            table = tables.tables[name]
            known = columns[name] if columns else {column.name for column in table.columns}
            for row in rows:
                connection.execute(table.insert(), {key: value for key, value in row.items() if key in known})
        if connection.dialect.name == "postgresql":
            connection.execute(sa.text("SELECT setval(pg_get_serial_sequence('jobs', 'pk'), 10)"))
    engine.dispose()


def columns_at(revision: str, folder: Path) -> dict[str, set[str]]:
    """The columns of each table at a revision."""
    url = f"sqlite:///{folder}/{revision}.db"
    upgrade(url, revision)
    engine = make_engine(url)
    found = sa.inspect(engine)
    columns = {table: {column["name"] for column in found.get_columns(table)} for table in found.get_table_names()}
    engine.dispose()
    return columns


def goes_on(client: TestClient) -> None:
    """What waited is claimed and trains to the end, what ran goes on under its token, what ended is shown."""
    waiting, running, done = (f"job_{pk:024x}" for pk in (1, 2, 3))
    assert client.get(f"/v1/jobs/{done}").json()["state"] == "succeeded"
    for job_id in (running, done):
        rows = client.get(f"/v1/jobs/{job_id}/metrics").json()["data"]
        assert [row["step"] for row in rows] == list(range(5))
        kinds = [event["type"] for event in client.get(f"/v1/jobs/{job_id}/events").json()["data"]]
        assert kinds == ["started", "checkpoint"]
    attempt = {"job_id": running, "attempt": 1, "token": TOKEN}
    answer = append(client, attempt, 8, [*(step(index) for index in range(5, STEPS)), succeeded()])
    assert answer.status_code == 200, answer.text
    assert client.get(f"/v1/jobs/{running}").json()["state"] == "succeeded"
    claim = {"claim_id": "a" * 32, "worker": "w", "queue": "default", "device": "cpu", "devices": 1}
    answer = client.post("/v1/agent/claim", json=claim, headers={"Authorization": f"Bearer {AGENT_TOKEN}"})
    assert answer.json()["job_id"] == waiting, answer.text
    records = [started(), *(step(index) for index in range(STEPS)), succeeded()]
    assert append(client, answer.json(), 1, records).status_code == 200
    assert client.get(f"/v1/jobs/{waiting}").json()["state"] == "succeeded"
    new = client.post("/v1/jobs", json=spec().model_dump(mode="json"))
    assert new.status_code == 201, new.text


@pytest.mark.parametrize("revision", REVISIONS[:-1])
def test_jobs_of_an_earlier_revision_go_on_after_the_upgrade(
    empty_database_url: str, data_root: Path, revision: str
) -> None:
    upgrade(empty_database_url, revision)
    insert(empty_database_url)
    upgrade(empty_database_url)
    with serving(empty_database_url, data_root, auth="off") as client:
        goes_on(client)


def test_an_api_of_the_revision_before_can_write_to_the_new_schema(
    database_url: str, data_root: Path, tmp_path: Path
) -> None:
    """Expand first: during an upgrade both versions run on the new schema; the older one does not know all of it."""
    insert(database_url, columns_at(REVISIONS[-2], tmp_path))
    with serving(database_url, data_root, auth="off") as client:
        goes_on(client)


def test_the_newest_revision_takes_nothing_away(tmp_path: Path) -> None:
    before, after = (columns_at(revision, tmp_path) for revision in REVISIONS[-2:])
    gone = {table: columns - after.get(table, set()) for table, columns in before.items()}
    assert {table: columns for table, columns in gone.items() if columns} == {}


OLD_MESSAGES = {
    "/v1/agent/workers": {
        "worker": "w",
        "version": "0.0.9",
        "queues": ["default"],
        "device": "cpu",
        "slots": 1,
        "devices": 1,
    },
    "/v1/agent/claim": {"claim_id": "b" * 32, "worker": "w", "queue": "default", "device": "cpu", "devices": 1},
}
KNOWN = {
    "assignment": {"job_id", "attempt", "token", "spec", "model_limits", "resume", "upload", "lease_seconds"},
    "append": {"acked", "command"},
}
"""What a worker of the version before knows, and it refuses what it does not; `running_seconds` came with it."""


def test_a_worker_of_the_version_before_is_understood_and_understands(client: TestClient) -> None:
    client.post("/v1/jobs", json=spec().model_dump(mode="json"))
    answers = [
        client.post(path, json=body, headers={"Authorization": f"Bearer {AGENT_TOKEN}"})
        for path, body in OLD_MESSAGES.items()
    ]
    assert [answer.status_code for answer in answers] == [204, 200]
    assignment = answers[1].json()
    assert set(assignment) <= KNOWN["assignment"] | {"running_seconds"}
    assert set(append(client, assignment, 1, [started()]).json()) == KNOWN["append"]


def test_a_reason_of_a_newer_worker_is_taken_for_a_defect_and_not_refused(client: TestClient) -> None:
    job_id = client.post("/v1/jobs", json=spec().model_dump(mode="json")).json()["id"]
    body = OLD_MESSAGES["/v1/agent/claim"]
    assignment = client.post("/v1/agent/claim", json=body, headers={"Authorization": f"Bearer {AGENT_TOKEN}"}).json()
    record = {"type": "finished", "time": NOW.isoformat(), "outcome": "failed", "reason": "of_tomorrow", "message": "x"}
    answer = client.post(
        f"/v1/agent/jobs/{job_id}/attempts/1/records",
        json={"first_seq": 1, "records": [record]},
        headers={"Authorization": f"Bearer {assignment['token']}"},
    )
    assert answer.status_code == 200, answer.text
    assert client.get(f"/v1/jobs/{job_id}").json()["reason"] == "internal"
