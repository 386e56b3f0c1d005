"""Each check of the global criteria finds what it is for: in what was found, and when a guard of the product is out."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from fastapi.testclient import TestClient
from safetensors.numpy import save, save_file
from sqlalchemy import text

from api.agent import service
from api.jobs import ledger
from cpt_core.checkpoint import files
from cpt_core.spec import JobSpec
from cpt_core.storage import local, open_storage
from tests.api.agent import append
from tests.api.conftest import AGENT_TOKEN, serving
from tests.api.factories import checkpoint, spec_document, started, step, succeeded
from tests.chaos import checks

STEPS = 4


@pytest.fixture
def client(tmp_path: Path, migrated_file: Path) -> Any:
    shutil.copy(migrated_file, tmp_path / "cpt.db")
    (tmp_path / "data").mkdir()
    with serving(f"sqlite:///{tmp_path}/cpt.db", tmp_path / "data", auth="off") as opened:
        yield opened


def claim(client: TestClient, letter: str) -> dict[str, Any]:
    body = {"claim_id": letter * 32, "worker": "w", "queue": "default", "device": "cpu", "devices": 2}
    answer = client.post("/v1/agent/claim", json=body, headers={"Authorization": f"Bearer {AGENT_TOKEN}"})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def submit(client: TestClient) -> str:
    return str(client.post("/v1/jobs", json=spec_document()).raise_for_status().json()["id"])


def log(client: TestClient, job_id: str) -> list[dict[str, Any]]:
    events = client.get(f"/v1/jobs/{job_id}/events", params={"limit": 1000}).json()["data"]
    database = client.app.state.services.database  # type: ignore[attr-defined]
    with database.read() as session:
        query = text("SELECT position, attempt, step FROM metrics WHERE job = (SELECT pk FROM jobs WHERE id = :id)")
        rows = session.execute(query, {"id": job_id}).all()
    steps = [{"id": row[0], "type": "step", "attempt": row[1], "step": row[2]} for row in rows]
    return sorted([*events, *steps], key=lambda entry: int(entry["id"]))


def late(client: TestClient, letters: str) -> str:
    """Attempt 1 falls silent, 2 begins, 1 sends on, and 2 trains to the end."""
    job_id = submit(client)
    first = claim(client, letters[0])
    append(client, first, 1, [started(), step(0)])
    database = client.app.state.services.database  # type: ignore[attr-defined]
    (pulse,) = [pulse for pulse in service.pulses(database) if pulse.job_id == job_id]
    service.expire(database, pulse)
    second = claim(client, letters[1])
    append(client, second, 1, [started()])
    append(client, first, 3, [step(1)])
    append(client, second, 2, [step(0), step(1), succeeded()])
    return job_id


def repeated(client: TestClient, letters: str) -> str:
    """An answer is lost, and the append is sent again."""
    job_id = submit(client)
    attempt = claim(client, letters[0])
    append(client, attempt, 1, [started(), step(0)])
    for _ in range(2):
        append(client, attempt, 3, [checkpoint(1)])
    append(client, attempt, 4, [succeeded()])
    return job_id


def reordered(client: TestClient, letters: str) -> str:
    """An append overtakes another one."""
    job_id = submit(client)
    attempt = claim(client, letters[0])
    append(client, attempt, 1, [started(), step(0)])
    append(client, attempt, 4, [step(2), checkpoint(3)])
    append(client, attempt, 3, [step(1), step(2), checkpoint(3), succeeded()])
    return job_id


@pytest.mark.parametrize(
    ("guard", "instead", "scenario"),
    [
        ("is_stale", lambda _ledger, _attempt: False, late),
        ("unseen", lambda _ledger, _first_seq, records: records, repeated),
        ("is_gap", lambda _ledger, _first_seq: False, reordered),
    ],
    ids=["fence", "de-duplication", "order"],
)
def test_what_a_guard_prevents_is_found_once_it_is_out(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, guard: str, instead: Any, scenario: Any
) -> None:
    def problems(letters: str) -> list[str]:
        job_id = scenario(client, letters)
        entries = log(client, job_id)
        state = client.get(f"/v1/jobs/{job_id}").json()["state"]
        return checks.unfinished([job_id], {job_id: state}) + checks.stale(entries) + checks.records(entries)

    assert problems("ab") == []
    monkeypatch.setattr(ledger, guard, instead)
    assert problems("cd")


def row(number: int, **changes: Any) -> dict[str, Any]:
    return {"step": number, "loss": 1.0, "forward_bits": 3, "backward_bits": 8, "lr": 0.1, **changes}


@pytest.mark.parametrize("steps", [[0, 1, 3], [0, 1, 1, 2, 3], [0, 2, 1, 3], [], [0, 1, 2, 3, 4]])
def test_a_series_with_another_step_is_found(steps: list[int]) -> None:
    assert checks.series([row(number) for number in range(STEPS)], STEPS) == []
    assert checks.series([row(number) for number in steps], STEPS)


def test_another_number_is_found() -> None:
    undisturbed = [row(number) for number in range(STEPS)]
    assert checks.numbers(undisturbed, undisturbed) == []
    assert checks.numbers([*undisturbed[:3], row(3, loss=1.0000001)], undisturbed)


def test_a_weight_that_differs_in_its_last_bit_is_found(tmp_path: Path) -> None:
    one = np.ones(4, dtype=np.float32)
    for name, value in (("a", one), ("b", one.copy()), ("c", np.nextafter(one, np.float32(2)))):
        (tmp_path / name).mkdir()
        save_file({"w": value}, tmp_path / name / "model.safetensors")
    assert checks.weights(tmp_path / "b", tmp_path / "a") == []
    assert checks.weights(tmp_path / "c", tmp_path / "a") == ["w differs"]


def test_an_accepted_job_that_is_not_terminal_or_gone_is_found() -> None:
    assert checks.unfinished(["a"], {"a": "succeeded"}) == []
    assert checks.unfinished(["a", "b"], {"a": "running"}) == ["a is running", "b is gone"]


def test_a_checkpoint_before_its_steps_is_found() -> None:
    entries: list[dict[str, Any]] = [
        {"type": "started", "attempt": 1, "resume_step": 0},
        {"type": "step", "attempt": 1, "step": 0},
        {"type": "checkpoint", "attempt": 1, "step": 2},
    ]
    assert checks.records(entries)
    assert checks.records([*entries[:2], {"type": "step", "attempt": 1, "step": 1}, entries[2]]) == []


def test_a_temporary_file_that_is_left_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = local.LocalStorage(str(tmp_path))
    monkeypatch.setattr(local, "_flush", _full)
    monkeypatch.setattr(local.shutil, "rmtree", lambda *_args, **_options: None)  # the guard
    with pytest.raises(Exception, match="No space left"):
        storage.put_folder("job/1/step-4", {"manifest.json": b"x"}, last="manifest.json")
    assert checks.leftovers([], tmp_path)
    assert checks.leftovers([tmp_path / "job-1"], tmp_path / "nothing")


def _full(_file: Any) -> None:
    raise OSError(28, "No space left on device")


def test_a_living_process_is_found() -> None:
    assert checks.orphans([psutil.Process()])
    assert checks.orphans([]) == []


def test_a_flipped_bit_is_noticed_by_the_hash_and_without_it_by_the_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = {"model.safetensors": save({"w": np.ones(4, dtype=np.float32)})}
    spec = JobSpec.model_validate(spec_document())
    kept = files.publish(str(tmp_path), "job/1", step=4, world_size=1, spec=spec, files=content)
    damaged = tmp_path / kept.path / "model.safetensors"
    flipped = bytearray(content["model.safetensors"])
    flipped[-1] ^= 1
    damaged.write_bytes(flipped)
    with pytest.raises(files.DamagedError):
        files.read(str(tmp_path), kept)
    monkeypatch.setattr(files, "_read_file", lambda storage, path, _entry: open_storage(storage).read(path))
    _, read = files.read(str(tmp_path), kept)
    (tmp_path / "undisturbed").mkdir()
    (tmp_path / "undisturbed" / "model.safetensors").write_bytes(content["model.safetensors"])
    (tmp_path / "trained-on").mkdir()
    (tmp_path / "trained-on" / "model.safetensors").write_bytes(read["model.safetensors"])
    assert checks.weights(tmp_path / "trained-on", tmp_path / "undisturbed") == ["w differs"]
