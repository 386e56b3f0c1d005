"""Many jobs out of one base spec: all or none, one object, and a table of what came of them."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from itertools import count
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from api.sweeps.members import merge_patch
from api.sweeps.schemas import Counts
from api.sweeps.state import state_of
from cpt_core.events import AnyEvent, Finished
from tests.api.agent import append
from tests.api.conftest import Claim
from tests.api.factories import STEPS, checkpoint, ended, spec_document, started, step, succeeded

GRID = {"/precision/min_bits": [3, 4], "/training/seed": [0, 1, 2]}


def sweep(client: TestClient, key: str | None = None, **body: Any) -> dict[str, Any]:
    answer = client.post(
        "/v1/sweeps",
        json={"spec": spec_document(), "grid": GRID} | body,
        headers={"Idempotency-Key": key} if key else {},
    )
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def finished(accuracy: float) -> Finished:
    end = succeeded()
    assert end.result
    return end.model_copy(update={"result": end.result.model_copy(update={"accuracy": accuracy})})


def run(client: TestClient, claim: Claim, ends: Sequence[AnyEvent]) -> list[str]:
    """Train a member to each of these ends, in the order in which they were submitted."""
    jobs = []
    for number, end in zip(count(), ends):
        assignment = claim(f"{number:x}")
        assert assignment
        append(client, assignment, 1, [started(), *(step(index) for index in range(STEPS)), checkpoint(STEPS), end])
        jobs.append(assignment["job_id"])
    return jobs


def jobs(client: TestClient, made: dict[str, Any]) -> list[dict[str, Any]]:
    """The members in their order."""
    found = client.get("/v1/jobs", params={"sweep": made["id"], "limit": 100}).json()["data"]
    return [job for member in made["members"] for job in found if job["id"] == member]


# --- what it makes


def test_a_grid_makes_a_job_of_every_combination_the_last_field_varying_fastest(client: TestClient) -> None:
    made = sweep(client, name="bits")
    assert (made["object"], made["name"], made["state"]) == ("sweep", "bits", "queued")
    assert made["counts"]["queued"] == 6
    assert made["progress"] == {"steps_done": 0, "steps": 6 * STEPS, "fraction": 0.0}
    members = jobs(client, made)
    points = [(job["spec"]["precision"]["min_bits"], job["spec"]["training"]["seed"]) for job in members]
    assert points == [(bits, seed) for bits in (3, 4) for seed in (0, 1, 2)]
    assert {job["sweep"] for job in members} == {made["id"]}
    assert client.get(f"/v1/sweeps/{made['id']}").json() == made


def test_overrides_are_merge_patches_of_the_base(client: TestClient) -> None:
    base = spec_document(training={"steps": STEPS, "batch_size": 32, "clip_norm": 1.0})
    overrides = [{"training": {"clip_norm": None}}, {"model": {"name": "resnet20"}}]
    made = jobs(client, sweep(client, spec=base, grid={}, overrides=overrides))
    assert [job["spec"]["training"]["clip_norm"] for job in made] == [None, 1.0]
    assert [job["spec"]["model"]["name"] for job in made] == ["resnet8", "resnet20"]


def test_every_one_of_the_overrides_meets_every_point_of_the_grid(client: TestClient) -> None:
    overrides = [{"precision": {"quantizer": "sbm"}}, {"precision": {"quantizer": "dorefa"}}]
    made = jobs(client, sweep(client, grid={"/training/seed": [0, 1]}, overrides=overrides))
    points = [(job["spec"]["precision"]["quantizer"], job["spec"]["training"]["seed"]) for job in made]
    assert points == [("sbm", 0), ("sbm", 1), ("dorefa", 0), ("dorefa", 1)]


def test_a_whole_part_of_the_spec_can_be_varied_and_be_missing_from_the_base(client: TestClient) -> None:
    base = spec_document()
    precisions = [base.pop("precision"), {"schedule": "static", "bits": 8}]
    made = jobs(client, sweep(client, spec=base, grid={"/precision": precisions}))
    assert [job["spec"]["precision"]["schedule"] for job in made] == ["cosine", "static"]


def test_a_pointer_reaches_into_lists(client: TestClient) -> None:
    pieces = [{"from_step": 0, "bits": 8}, {"from_step": 10, "bits": 4}]
    base = spec_document(precision={"schedule": "piecewise", "pieces": pieces})
    made = jobs(client, sweep(client, spec=base, grid={"/precision/pieces/1/bits": [3, 5]}))
    assert [job["spec"]["precision"]["pieces"][1]["bits"] for job in made] == [3, 5]


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [  # RFC 7396, appendix A
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge_patches_do_what_their_rfc_says(target: Any, patch: Any, result: Any) -> None:
    assert merge_patch(target, patch) == result


def test_an_idempotency_key_makes_one_sweep_of_many_requests(client: TestClient) -> None:
    first = sweep(client, "key")
    again = client.post("/v1/sweeps", json={"spec": spec_document(), "grid": GRID}, headers={"Idempotency-Key": "key"})
    assert (again.json()["id"], again.headers["Idempotent-Replayed"]) == (first["id"], "true")
    assert len(client.get("/v1/jobs").json()["data"]) == 6
    other = client.post(
        "/v1/sweeps",
        json={"spec": spec_document(), "grid": {"/training/seed": [1]}},
        headers={"Idempotency-Key": "key"},
    )
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


# --- what it refuses


@pytest.mark.parametrize(
    ("body", "pointer", "member", "words"),
    [
        # a rule between two fields blames the one that the grid sets
        ({"grid": {"/precision/min_bits": [3, 9]}}, "/grid/~1precision~1min_bits/1", 1, "max_bits"),
        ({"grid": {"/training/seed": [0, -1]}}, "/grid/~1training~1seed/1", 1, "member 1, /training/seed"),
        (
            {"grid": {"/precision": [{"schedule": "static", "bits": 1}]}},
            "/grid/~1precision/0/bits",
            0,
            "/precision/bits",
        ),
        ({"overrides": [{}, {"training": {"steps": 0}}]}, "/overrides/1/training/steps", 1, "member 1"),
        ({"grid": {"/training/seed": [0]}, "spec": spec_document(colour=1)}, "/spec/colour", 0, "member 0"),
        ({"grid": {"/name/x": [0]}, "spec": spec_document(name="x")}, "/grid/~1name~1x/0", 0, "cannot be set"),
        ({"grid": {}}, "/grid", None, "nothing to vary"),
        ({}, "/grid", None, "nothing to vary"),
        ({"grid": {"training/seed": [0]}}, "/grid/training~1seed", None, "pattern"),
        ({"grid": {"/training/seed": []}}, "/grid/~1training~1seed", None, "at least 1"),
        ({"grid": {"/training/seed": [1, 1]}}, "/grid", None, "twice"),
        ({"grid": {"/training": [{"steps": 9}], "/training/seed": [1]}}, "/grid", None, "lies inside"),
        ({"grid": GRID, "colour": "red"}, "/colour", None, ""),
        ({"grid": GRID, "overrides": [3]}, "/overrides/0", None, ""),
        ({"grid": {"/training/seed": list(range(501))}}, "/grid", None, "501 members"),
        ({"grid": {f"/a{i}": list(range(99)) for i in range(16)}}, "/grid", None, "more than the 500"),
    ],
)
def test_a_bad_sweep_names_member_and_field_and_leaves_nothing_behind(
    client: TestClient, body: dict[str, Any], pointer: str, member: int | None, words: str
) -> None:
    answer = client.post("/v1/sweeps", json={"spec": spec_document()} | body)
    assert answer.status_code == 422, answer.text
    [fault] = answer.json()["errors"]
    assert fault["pointer"] == pointer
    assert fault.get("member") == member
    assert words in fault["message"]
    assert client.get("/v1/jobs").json()["data"] == client.get("/v1/sweeps").json()["data"] == []


def test_a_fault_of_all_members_is_told_once(client: TestClient) -> None:
    answer = client.post("/v1/sweeps", json={"spec": spec_document(colour="red"), "grid": GRID})
    [fault] = answer.json()["errors"]
    assert (fault["pointer"], fault["member"]) == ("/spec/colour", 0)
    assert "and 5 more members" in fault["message"]


def test_a_missing_dataset_is_found_before_anything_is_stored(client: TestClient) -> None:
    grid = {"/dataset": [{"name": "digits"}, {"name": "idx", "path": "nowhere"}]}
    answer = client.post("/v1/sweeps", json={"spec": spec_document(), "grid": grid})
    assert answer.json()["errors"][0]["pointer"] == "/grid/~1dataset/1/path"
    assert client.get("/v1/jobs").json()["data"] == []


# --- its life


def test_a_sweep_is_what_its_members_are(client: TestClient, claim: Claim) -> None:
    made = sweep(client, grid={"/training/seed": [0, 1]})
    url = f"/v1/sweeps/{made['id']}"
    first = claim("a")
    assert first
    append(client, first, 1, [started(), step(0)])
    running = client.get(url).json()
    assert (running["state"], running["counts"]["running"], running["counts"]["queued"]) == ("running", 1, 1)
    assert running["progress"]["steps_done"] == 1
    assert running["started_at"] is not None
    append(client, first, 3, [ended("failed", "diverged")])
    assert client.get(url).json()["state"] == "running"
    assert client.get(url).json()["finished_at"] is None
    run(client, claim, [succeeded()])
    done = client.get(url).json()
    assert (done["state"], done["counts"]["succeeded"], done["counts"]["failed"]) == ("failed", 1, 1)
    assert done["finished_at"] is not None


@pytest.mark.parametrize(
    ("counts", "state"),
    [
        ({"queued": 3}, "queued"),
        ({"queued": 2, "starting": 1}, "running"),
        ({"queued": 2, "succeeded": 1}, "running"),
        ({"queued": 1, "paused": 1}, "running"),
        ({"paused": 1, "failed": 1}, "paused"),
        ({"succeeded": 3}, "succeeded"),
        ({"succeeded": 2, "cancelled": 1}, "cancelled"),
        ({"succeeded": 1, "cancelled": 1, "failed": 1}, "failed"),
    ],
)
def test_states_of_sweeps(counts: dict[str, int], state: str) -> None:
    assert state_of(Counts(**counts)) == state


def test_cancelling_ends_what_waits_asks_what_runs_and_leaves_what_has_ended(client: TestClient, claim: Claim) -> None:
    made = sweep(client, grid={"/training/seed": [0, 1, 2]})
    run(client, claim, [succeeded()])
    running = claim("f")
    assert running
    append(client, running, 1, [started()])
    url = f"/v1/sweeps/{made['id']}/cancel"
    asked = client.post(url).json()
    assert (asked["state"], asked["counts"]) == (
        "running",
        {"queued": 0, "starting": 0, "running": 1, "paused": 0, "succeeded": 1, "failed": 0, "cancelled": 1},
    )
    assert [job["cancel_requested"] for job in jobs(client, made)] == [False, True, False]
    append(client, running, 2, [ended("cancelled", "user")])
    again = client.post(url)
    assert (again.status_code, again.json()["state"]) == (200, "cancelled")


def test_a_sweep_that_has_ended_otherwise_cannot_be_cancelled(client: TestClient, claim: Claim) -> None:
    made = sweep(client, grid={"/training/seed": [0]})
    run(client, claim, [succeeded()])
    refused = client.post(f"/v1/sweeps/{made['id']}/cancel")
    assert (refused.status_code, refused.json()["code"]) == (409, "illegal_state")


def test_sweeps_are_listed_newest_first_and_paged_by_cursor(client: TestClient) -> None:
    ids = [sweep(client, grid={"/training/seed": [number]})["id"] for number in range(3)]
    page = client.get("/v1/sweeps", params={"limit": 2}).json()
    rest = client.get("/v1/sweeps", params={"cursor": page["next_cursor"]}).json()
    assert [item["id"] for item in page["data"] + rest["data"]] == ids[::-1]
    assert not rest["has_more"]
    assert client.get("/v1/sweeps", params={"cursor": "sweep_" + "0" * 24}).json()["code"] == "invalid_request"


def test_another_projects_sweep_does_not_exist(client: TestClient) -> None:
    from sqlalchemy import update

    from api.sweeps.models import Sweep

    made = sweep(client)
    with client.app.state.services.database.write() as session:  # type: ignore[attr-defined]
        session.execute(update(Sweep).values(project="other"))
    url = f"/v1/sweeps/{made['id']}"
    for answer in (client.get(url), client.get(url + "/results"), client.post(url + "/cancel")):
        assert (answer.status_code, answer.json()["code"]) == (404, "sweep_not_found")
    assert client.get("/v1/sweeps").json()["data"] == []


# --- what came of it


def test_results_are_the_best_first_with_what_varies(client: TestClient, claim: Claim) -> None:
    made = sweep(client, grid={"/precision/min_bits": [3, 4, 5]})
    ran = run(client, claim, [finished(0.7), finished(0.9)])
    table = client.get(f"/v1/sweeps/{made['id']}/results").json()
    assert table["fields"] == ["/precision/min_bits"]
    assert [row["job"] for row in table["data"]] == [ran[1], ran[0], made["members"][2]]
    best, _second, waiting = table["data"]
    assert best["fields"] == {"/precision/min_bits": 4}
    assert best["quality"] == {"name": "accuracy", "value": 0.9, "bits": 8, "averaged": False, "final": True}
    assert best["cost"]["gbitops"] == 200.0
    assert best["cost"]["saved_vs_static"] == pytest.approx(1 / 3)
    assert best["energy"] == {"modelled_joules": 10.0, "energy_joules": None}
    assert best["seconds"] >= 0
    assert (waiting["quality"], waiting["cost"], waiting["energy"], waiting["seconds"]) == (None,) * 4


def test_seeds_of_one_configuration_stand_together_with_mean_and_deviation(client: TestClient, claim: Claim) -> None:
    made = sweep(client, grid={"/precision/min_bits": [3, 4], "/training/seed": [0, 1]})
    run(client, claim, [finished(0.5), finished(0.7), finished(0.8), ended("failed", "diverged")])
    four, three = client.get(f"/v1/sweeps/{made['id']}/results").json()["configurations"]
    assert three["fields"] == {"/precision/min_bits": 3}
    assert three["jobs"] == made["members"][:2]
    assert three["summary"]["accuracy"] == {"mean": pytest.approx(0.6), "deviation": pytest.approx(0.02**0.5)}
    assert (four["fields"], four["summary"]["runs"]) == ({"/precision/min_bits": 4}, 1)
    assert four["summary"]["accuracy"] == {"mean": 0.8, "deviation": None}


@pytest.mark.parametrize(
    ("accept", "is_csv"),
    [
        ("text/csv", True),
        ("text/csv, */*;q=0.1", True),
        ("text/csv;q=0.5, application/json", False),
        ("application/json, text/csv", False),
        ("*/*", False),
    ],
)
def test_results_come_as_csv_to_those_who_prefer_it(
    client: TestClient, claim: Claim, accept: str, is_csv: bool
) -> None:
    made = sweep(client, grid={"/precision": [{"schedule": "static", "bits": 8}, spec_document()["precision"]]})
    [ran] = run(client, claim, [finished(0.75)])
    answer = client.get(f"/v1/sweeps/{made['id']}/results", headers={"Accept": accept})
    assert answer.headers["Content-Type"].partition(";")[0] == ("text/csv" if is_csv else "application/json")
    assert answer.headers["Vary"] == "Accept"
    if is_csv:
        rows = list(csv.DictReader(io.StringIO(answer.text)))
        assert [row["job"] for row in rows] == [ran, made["members"][1]]
        first, second = rows
        assert (first["/precision/bits"], first["/precision/schedule"], first["/precision/cycles"]) == (
            "8",
            "static",
            "",
        )
        assert (first["quality"], first["value"], first["gbitops"]) == ("accuracy", "0.75", "200.0")
        assert (second["/precision/cycles"], second["value"]) == ("2", "")


def test_the_number_of_members_is_a_setting(client: TestClient) -> None:
    settings = client.app.state.services.settings.model_copy(update={"max_sweep_members": 5})  # type: ignore[attr-defined]
    small = TestClient(create_app(settings), base_url="http://127.0.0.1")
    refused = small.post("/v1/sweeps", json={"spec": spec_document(), "grid": GRID})
    assert refused.json()["errors"][0]["code"] == "too_many_members"
    sweep(client)
