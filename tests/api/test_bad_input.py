"""Every malformed request gets a 4xx that names the field, and leaves nothing behind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.api.factories import spec_document

DIGITS = {"name": "digits"}
COSINE = {"schedule": "cosine", "cycles": 2}


def pieces(*steps_and_bits: tuple[int, int]) -> dict[str, Any]:
    """A spec's piecewise precision."""
    listed = [{"from_step": step, "bits": bits} for step, bits in steps_and_bits]
    return {"precision": {"schedule": "piecewise", "pieces": listed}}


BAD_SPECS: dict[str, tuple[dict[str, Any], str]] = {
    "unknown field": ({"colour": "red"}, "/colour"),
    "unknown nested field": ({"training": {"steps": 20, "epoch": 3}}, "/training/epoch"),
    "unknown field of a union": ({"precision": {**COSINE, "bits": 8}}, "/precision/bits"),
    "missing model": ({"model": None}, "/model"),
    "unknown model": ({"model": {"name": "resnet39"}}, "/model/name"),
    "model without a name": ({"model": {}}, "/model/name"),
    "unknown field of a model": ({"model": {"name": "resnet18", "depth": 3}}, "/model/depth"),
    "model by path": ({"model": {"name": "../../etc/passwd"}}, "/model/name"),
    "external model with another field": ({"model": {"name": "timm/resnet10t", "depth": 3}}, "/model/depth"),
    "external model by path": ({"model": {"name": "timm/../resnet10t"}}, "/model/name"),
    "external model from a hub": ({"model": {"name": "timm/hf-hub:someone/net"}}, "/model/name"),
    "model option that is a mapping": ({"model": {"name": "acme/net", "options": {"a": {}}}}, "/model/options/a"),
    "model option of lists in lists": ({"model": {"name": "acme/net", "options": {"a": [[1]]}}}, "/model/options/a"),
    "model option that is huge": ({"model": {"name": "acme/net", "options": {"a": 10**30}}}, "/model/options/a"),
    "model option that is long": ({"model": {"name": "acme/net", "options": {"a": "x" * 201}}}, "/model/options/a"),
    "model option that is private": ({"model": {"name": "acme/net", "options": {"_a": 1}}}, "/model/options/_a"),
    "model option of the dataset": ({"model": {"name": "acme/net", "options": {"num_classes": 3}}}, "/model/options"),
    "too many model options": (
        {"model": {"name": "acme/net", "options": {f"o{i}": i for i in range(65)}}},
        "/model/options",
    ),
    "library of image models on text": (
        {"model": {"name": "timm/resnet10t"}, "dataset": {"name": "text", "path": "book.txt"}},
        "/dataset/name",
    ),
    "unknown dataset": ({"dataset": {"name": "imagenet-22k"}}, "/dataset/name"),
    "dataset without a name": ({"dataset": {}}, "/dataset/name"),
    "dataset without its path": ({"dataset": {"name": "cifar10"}}, "/dataset/path"),
    "missing dataset": ({"dataset": {"name": "idx", "path": "nowhere"}}, "/dataset/path"),
    "path outside the data root": ({"dataset": {"name": "idx", "path": "../secrets"}}, "/dataset/path"),
    "absolute path": ({"dataset": {"name": "idx", "path": "/etc"}}, "/dataset/path"),
    "path with a null byte": ({"dataset": {"name": "idx", "path": "a\x00b"}}, "/dataset/path"),
    "path through a link": ({"dataset": {"name": "idx", "path": "link"}}, "/dataset/path"),
    "unknown schedule": ({"precision": {"schedule": "sawtooth"}}, "/precision/schedule"),
    "no schedule": ({"precision": {"min_bits": 3}}, "/precision/schedule"),
    "min above max": ({"precision": {**COSINE, "min_bits": 8, "max_bits": 3}}, "/precision/min_bits"),
    "bits 0": ({"precision": {**COSINE, "min_bits": 0}}, "/precision/min_bits"),
    "bits 1": ({"precision": {**COSINE, "max_bits": 1}}, "/precision/max_bits"),
    "bits 33": ({"precision": {**COSINE, "max_bits": 33}}, "/precision/max_bits"),
    "bits 17": ({"precision": {"schedule": "static", "bits": 17}}, "/precision/bits"),
    "gradient bits 31": ({"precision": {**COSINE, "gradient_bits": 31}}, "/precision/gradient_bits"),
    "a gradient cycle without a schedule": (
        {"precision": {**COSINE, "gradient_bits": {"cycles": 2}}},
        "/precision/gradient_bits/schedule",
    ),
    "a gradient cycle of 1 bit": (
        {"precision": {**COSINE, "gradient_bits": {**COSINE, "min_bits": 1}}},
        "/precision/gradient_bits/min_bits",
    ),
    "a gradient cycle that descends": (
        {"precision": {**COSINE, "gradient_bits": {**COSINE, "min_bits": 9, "max_bits": 6}}},
        "/precision/gradient_bits/min_bits",
    ),
    "a gradient cycle past full precision": (
        {"precision": {**COSINE, "gradient_bits": {**COSINE, "max_bits": 33}}},
        "/precision/gradient_bits/max_bits",
    ),
    "more gradient cycles than steps": (
        {"precision": {**COSINE, "gradient_bits": {**COSINE, "cycles": 21}}},
        "/precision/gradient_bits/cycles",
    ),
    "gradient bits as a list": ({"precision": {**COSINE, "gradient_bits": [4, 8]}}, "/precision/gradient_bits"),
    "unknown quantizer": ({"precision": {**COSINE, "quantizer": "binary"}}, "/precision/quantizer"),
    "no pieces": ({"precision": {"schedule": "piecewise", "pieces": []}}, "/precision/pieces"),
    "pieces that begin late": (pieces((1, 8)), "/precision/pieces/0/from_step"),
    "pieces that go back": (pieces((0, 8), (9, 4), (9, 6)), "/precision/pieces/2/from_step"),
    "a piece after the end": (pieces((0, 8), (20, 4)), "/precision/pieces/1/from_step"),
    "a piece of 20 bits": (pieces((0, 8), (9, 20)), "/precision/pieces/1/bits"),
    "a range test to 32 bits": ({"precision": {"schedule": "auto", "max_bits": 32}}, "/precision/max_bits"),
    "a range test from above": ({"precision": {"schedule": "auto", "min_bits": 9}}, "/precision/min_bits"),
    "a range test longer than training": ({"precision": {"schedule": "auto"}}, "/precision/steps_per_bits"),
    "a range test with a wide window": (
        {"precision": {"schedule": "auto", "steps_per_bits": 5, "window": 6}},
        "/precision/window",
    ),
    "a range test with gradients that cycle": (
        {"precision": {"schedule": "auto", "gradient_bits": COSINE}},
        "/precision/gradient_bits",
    ),
    "a threshold of all that can be gained": (
        {"precision": {"schedule": "auto", "threshold": 1.0}},
        "/precision/threshold",
    ),
    "a range test of a schedule that has none": ({"type": "range_test"}, "/precision/schedule"),
    "an unknown type": ({"type": "inference"}, "/type"),
    "ranges to quantise with from a training that keeps none": (
        {"precision": {"schedule": "static", "bits": 32}, "evaluation": {"bits": 8}},
        "/evaluation/bits",
    ),
    "bits as text": ({"precision": {**COSINE, "min_bits": "3"}}, "/precision/min_bits"),
    "bits as a fraction": ({"precision": {**COSINE, "min_bits": 3.5}}, "/precision/min_bits"),
    "bits as a truth value": ({"precision": {**COSINE, "min_bits": True}}, "/precision/min_bits"),
    "more cycles than steps": ({"precision": {**COSINE, "cycles": 21}}, "/precision/cycles"),
    "no cycles": ({"precision": {**COSINE, "cycles": 0}}, "/precision/cycles"),
    "no steps": ({"training": {"steps": 0}}, "/training/steps"),
    "huge steps": ({"training": {"steps": 10**30}}, "/training/steps"),
    "negative batch": ({"training": {"steps": 20, "batch_size": -1}}, "/training/batch_size"),
    "batch not divisible": ({"resources": {"devices": 3}}, "/training/batch_size"),
    "seed too large": ({"training": {"steps": 20, "seed": 2**32}}, "/training/seed"),
    "learning rate 0": ({"optimizer": {"name": "sgd", "lr": 0}}, "/optimizer/lr"),
    "momentum 1": ({"optimizer": {"name": "sgd", "momentum": 1}}, "/optimizer/momentum"),
    "unknown optimizer": ({"optimizer": {"name": "lion"}}, "/optimizer/name"),
    "milestones descending": ({"lr_schedule": {"name": "multistep", "milestones": [9, 5]}}, "/lr_schedule/milestones"),
    "warm-up longer than training": (
        {"lr_schedule": {"name": "constant", "warmup_steps": 99}},
        "/lr_schedule/warmup_steps",
    ),
    "integers with another quantizer": (
        {"precision": {"schedule": "static", "quantizer": "dorefa", "backend": "int8"}},
        "/precision/backend",
    ),
    "FP8 with another quantizer": (
        {"precision": {"schedule": "static", "quantizer": "wageubn", "backend": "fp8"}},
        "/precision/backend",
    ),
    "wrong type of section": ({"training": []}, "/training"),
    "name too long": ({"name": "x" * 101}, "/name"),
    "name with a control character": ({"name": "a\x1b[31m"}, "/name"),
    "queue with a slash": ({"resources": {"queue": "a/b"}}, "/resources/queue"),
    "too many devices": ({"resources": {"devices": 65}}, "/resources/devices"),
}


@pytest.fixture(autouse=True)
def link_out_of_the_data_root(data_root: Path) -> None:
    (data_root / "link").symlink_to("/etc")


def pointers(answer: Any) -> list[str]:
    return [error["pointer"] for error in answer.json()["errors"]]


def test_bad_specs_are_refused_by_field_and_nothing_is_stored(client: TestClient) -> None:
    for name, (changes, pointer) in BAD_SPECS.items():
        document = {key: value for key, value in spec_document(**changes).items() if value is not None}
        for path in ("/v1/jobs", "/v1/jobs:validate"):
            answer = client.post(path, json=document)
            assert answer.status_code == 422, (name, answer.text)
            assert pointer in pointers(answer), (name, answer.text)
            assert answer.headers["Content-Type"] == "application/problem+json"
    assert client.get("/v1/jobs").json()["data"] == []


def test_a_misspelt_built_in_model_is_refused_with_the_names_there_are(client: TestClient) -> None:
    answer = client.post("/v1/jobs", json=spec_document(model={"name": "resnet39"}))
    assert "resnet38" in answer.json()["errors"][0]["message"]


def test_an_external_model_is_accepted_by_its_form_alone(client: TestClient) -> None:
    model = {"name": "acme/tiny_net", "options": {"width": 8, "act": "relu", "depths": [1, 2], "bias": False}}
    answer = client.post("/v1/jobs", json=spec_document(model=model))
    assert answer.status_code == 201, answer.text
    assert answer.json()["spec"]["model"] == model


RAW = {
    "not JSON": (b"{", 422, "json_invalid"),
    "empty": (b"", 422, "missing"),
    "a list": (b"[]", 422, "model_attributes_type"),
    "NaN": (json.dumps(spec_document(optimizer={"name": "sgd", "lr": float("nan")})).encode(), 422, "finite_number"),
    "infinity": (json.dumps(spec_document(optimizer={"name": "sgd", "lr": 1e999})).encode(), 422, "finite_number"),
    "not UTF-8": (b'{"name": "\xff\xfe"}', 422, "json_invalid"),
    "10 MB": (b'{"name": "' + b"x" * 10_000_000 + b'"}', 413, "body_too_large"),
    "deep lists": (b"[" * 100_000, 400, "json_too_deep"),
    "deep objects": (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, 400, "json_too_deep"),
    "a number of 5000 digits": (b'{"training": {"steps": ' + b"9" * 5000 + b"}}", 422, "json_invalid"),
}


@pytest.mark.parametrize("name", RAW)
def test_bad_bodies_are_refused(client: TestClient, name: str) -> None:
    body, status, code = RAW[name]
    answer = client.post("/v1/jobs", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == status, answer.text
    assert code in [error["code"] for error in answer.json()["errors"]], answer.text
    assert client.get("/v1/jobs").json()["data"] == []


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("limit=0", "limit"),
        ("limit=x", "limit"),
        ("limit=101", "limit"),
        ("cursor=nonsense", "cursor"),
        ("cursor=job_" + "0" * 24, "cursor"),
        ("state=sleeping", "state.0"),
    ],
)
def test_bad_list_parameters_are_named(client: TestClient, query: str, parameter: str) -> None:
    answer = client.get(f"/v1/jobs?{query}")
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["parameter"] == parameter


def test_a_bad_idempotency_key_is_named(client: TestClient) -> None:
    answer = client.post("/v1/jobs", json=spec_document(), headers={"Idempotency-Key": "x" * 256})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["parameter"].lower() == "idempotency-key"


def test_workers_without_the_agent_token_are_refused(client: TestClient) -> None:
    body = {"claim_id": "0" * 32, "worker": "w", "queue": "default", "device": "cpu", "devices": 1}
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic xyz"}):
        answer = client.post("/v1/agent/claim", json=body, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (401, "invalid_token")


def test_unknown_paths_and_methods_are_problems_too(client: TestClient) -> None:
    for answer, status in ((client.get("/v1/nothing"), 404), (client.delete("/v1/jobs"), 405)):
        assert answer.status_code == status
        assert answer.headers["Content-Type"] == "application/problem+json"
