"""A spec is planned before it is submitted, as JSON and as YAML, with the figures that the run then reports."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from fastapi.testclient import TestClient

from cpt_core.plan import plan
from tests.api.factories import spec, spec_document


def planned(client: TestClient, document: Any) -> dict[str, Any]:
    answer = client.post("/v1/plans", json=document)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_a_plan_has_the_figures_of_the_training_core(client: TestClient, data_root: Any) -> None:
    found = planned(client, spec_document())
    expected = plan(spec(), data_root).model_dump(mode="json")
    assert {name: found[name] for name in expected} == expected
    assert found["unknown"] is None


def test_the_schedule_comes_as_runs_of_equal_widths(client: TestClient) -> None:
    runs = planned(client, spec_document())["runs"]
    assert [(run["start"], run["stop"], run["forward_bits"], run["backward_bits"]) for run in runs[:3]] == [
        (0, 2, 3, 8),
        (2, 3, 4, 8),
        (3, 5, 5, 8),
    ] or runs[0]["start"] == 0
    assert runs[-1]["stop"] == 20
    assert {run["forward_bits"] for run in runs} == {3, 4, 5, 6, 7, 8}


def test_the_document_comes_back_as_it_was_beside_the_spec_with_its_defaults(client: TestClient) -> None:
    found = planned(client, spec_document())
    assert found["document"] == spec_document()
    assert found["spec"]["optimizer"]["momentum"] == 0.9


def test_yaml_is_planned_as_json_is(client: TestClient) -> None:
    answer = client.post("/v1/plans", content=yaml.safe_dump(spec_document()), headers=YAML)
    assert answer.json() == planned(client, spec_document())


YAML = {"Content-Type": "application/yaml"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model: {name: resnet8", "line 1, column"),
        ("- a list", "must be a mapping"),
        ("a: &x [1]\nb: *x", "aliases are not taken"),
        ("when: 2026-01-01", "not valid YAML"),
        ("x: .nan", "not valid YAML"),
        ("[" * 30 + "]" * 30, "must be a mapping"),
        ("? " * 20_000, "not valid YAML"),
        ("a: \x00", "not valid YAML"),
    ],
)
def test_yaml_that_is_none_is_refused_with_its_place(client: TestClient, text: str, message: str) -> None:
    answer = client.post("/v1/plans", content=text, headers=YAML)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert message in answer.json()["detail"]


def test_every_wrong_field_is_named(client: TestClient) -> None:
    document = spec_document(precision={"schedule": "cosine", "min_bits": "three", "cycles": 0})
    errors = client.post("/v1/plans", json=document).json()["errors"]
    assert {error["pointer"] for error in errors} == {"/precision/min_bits", "/precision/cycles"}


def test_a_batch_larger_than_the_data_is_refused(client: TestClient) -> None:
    document = spec_document(training={"steps": 20, "batch_size": 1438})
    (error,) = client.post("/v1/plans", json=document).json()["errors"]
    assert (error["pointer"], error["code"]) == ("/training/batch_size", "batch_too_large")


def test_a_dataset_that_is_not_there_is_named(client: TestClient) -> None:
    document = spec_document(dataset={"name": "cifar10", "path": "nowhere"})
    assert client.post("/v1/plans", json=document).json()["errors"][0]["code"] == "dataset_not_found"


def test_what_only_files_tell_is_null_and_says_so_but_savings_are_known(client: TestClient, data_root: Any) -> None:
    (data_root / "mnist").mkdir()
    found = planned(client, spec_document(dataset={"name": "idx", "path": "mnist"}))
    assert "the dataset's files" in found["unknown"]
    assert (found["macs"], found["epochs"], found["forecast"]["gbitops"]) == (None, None, None)
    known = planned(client, spec_document())["forecast"]
    assert found["forecast"]["saved_vs_static"] == pytest.approx(known["saved_vs_static"], rel=1e-12)


def test_a_model_from_outside_is_planned_without_its_size(client: TestClient) -> None:
    found = planned(client, spec_document(model={"name": "timm/resnet10t"}))
    assert "only the worker knows the size of timm/resnet10t" in found["unknown"]
    assert found["epochs"] is not None


def test_before_a_range_test_the_least_and_the_most_are_told(client: TestClient) -> None:
    precision = {"schedule": "auto", "min_bits": 7, "steps_per_bits": 4, "cycles": 2}
    found = planned(client, spec_document(precision=precision))
    least, most = found["forecast_between"]
    assert found["forecast"] is None
    assert least["gbitops"] < most["gbitops"]


def test_a_schedule_that_changes_too_often_is_drawn_but_not_counted(client: TestClient) -> None:
    precision = {"schedule": "cosine", "cycles": 1_000_000}
    found = planned(client, spec_document(precision=precision, training={"steps": 10_000_000, "batch_size": 32}))
    assert found["forecast"] is None
    assert "too often" in found["unknown"]
    assert len(found["runs"]) == 2000
