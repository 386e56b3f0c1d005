"""Jobs side by side, with where their specs differ."""

from __future__ import annotations

import csv
import io

import pytest
from fastapi.testclient import TestClient

from api.compare.differences import differences
from cpt_core.events import Evaluation
from tests.api.agent import append
from tests.api.conftest import Claim
from tests.api.factories import run_to_the_end, started, step
from tests.api.test_jobs import submit


def test_only_what_differs_is_shown(client: TestClient) -> None:
    first = submit(client, name="one")
    second = submit(client, name="two", precision={"schedule": "static", "bits": 6})
    answer = client.get("/v1/compare", params={"jobs": f"{second['id']},{first['id']}"}).json()
    assert [row["job"] for row in answer["data"]] == [second["id"], first["id"]]
    static, cosine = (row["fields"] for row in answer["data"])
    assert (static["/precision/schedule"], static["/precision/bits"]) == ("static", 6)
    assert (cosine["/precision/schedule"], cosine["/precision/cycles"]) == ("cosine", 2)
    assert "/precision/cycles" not in static
    assert "/name" not in answer["fields"]
    assert not any(pointer.startswith(("/model", "/training")) for pointer in answer["fields"])


def test_lists_are_one_value_and_keys_are_escaped() -> None:
    pointers, values = differences([{"a/b": {"c~": [1, 2]}, "same": 1}, {"a/b": {"c~": [1]}, "same": 1, "new": {}}])
    assert pointers == ["/a~1b/c~0", "/new"]
    assert values == [{"/a~1b/c~0": [1, 2]}, {"/a~1b/c~0": [1], "/new": {}}]


def test_jobs_that_have_not_ended_are_shown_with_what_is_known(client: TestClient, claim: Claim) -> None:
    done, running, waiting = (submit(client)["id"] for _ in range(3))
    first, second = claim("a"), claim("b")
    assert first
    assert second
    append(client, first, 1, run_to_the_end())
    evaluation = Evaluation(step=2, bits=8, samples=360, loss=0.2, accuracy=0.6)
    append(client, second, 1, [started(), step(0), step(1), evaluation])
    rows = client.get("/v1/compare", params={"jobs": f"{done},{running},{waiting}"}).json()["data"]
    assert [row["state"] for row in rows] == ["succeeded", "running", "queued"]
    assert [row["quality"] and (row["quality"]["value"], row["quality"]["final"]) for row in rows] == [
        (0.97, True),
        (0.6, False),
        None,
    ]
    assert [row["cost"] and row["cost"]["gbitops"] for row in rows] == [200.0, 20.0, None]
    assert [row["energy"] and row["energy"]["modelled_joules"] for row in rows] == [10.0, 1.0, None]
    assert [row["seconds"] is None for row in rows] == [False, False, True]


def test_a_comparison_comes_as_csv_to_those_who_prefer_it(client: TestClient) -> None:
    ids = [submit(client, training={"steps": 20, "batch_size": 32, "seed": seed})["id"] for seed in (4, 5)]
    answer = client.get("/v1/compare", params={"jobs": ",".join(ids)}, headers={"Accept": "text/csv"})
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [(row["job"], row["/training/seed"], row["value"]) for row in rows] == [(ids[0], "4", ""), (ids[1], "5", "")]


@pytest.mark.parametrize("jobs", ["", ",", "x", "job_1", ",".join(f"job_{n:024x}" for n in range(51))])
def test_bad_lists_of_jobs_are_refused(client: TestClient, jobs: str) -> None:
    answer = client.get("/v1/compare", params={"jobs": jobs})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["parameter"] == "jobs"


def test_an_unknown_job_is_named(client: TestClient) -> None:
    unknown = "job_" + "0" * 24
    answer = client.get("/v1/compare", params={"jobs": f"{submit(client)['id']},{unknown}"})
    assert (answer.status_code, answer.json()["code"]) == (404, "job_not_found")
    assert unknown in answer.json()["detail"]


def test_fifty_jobs_can_be_compared(client: TestClient) -> None:
    ids = [submit(client, name=str(number))["id"] for number in range(50)]
    assert len(client.get("/v1/compare", params={"jobs": ",".join(ids)}).json()["data"]) == 50
