"""What strangers and lying workers send: generated, so that nobody has to think of it. Each gets a 4xx that names the
field, or is dropped; nothing crashes, and nothing of it stays behind.

Beside it: `test_bad_input` (what was thought of), `test_openapi` (what the description allows), `test_append_machine`
(whole conversations), `tests/core/test_archives` and `tests/test_no_pickle`.
"""

from __future__ import annotations

import copy
import io
import socket
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import uvicorn
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, SecretStr, ValidationError

from api.app import CLIENT_ROUTERS, create_app
from api.settings import ApiSettings
from cpt_core import protocol
from tests.api.conftest import AGENT_TOKEN, Claim, Keyed
from tests.api.factories import spec_document, started, step

GENERATED = settings(
    deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck), max_examples=60
)
NUMBERS = st.one_of(st.integers(), st.integers(-(2**70), 2**70), st.floats(), st.sampled_from([0, -1, 2**31, 2**63]))
TEXTS = st.one_of(
    st.text(max_size=20), st.sampled_from(["", "../..", "\x00", "job_", "a" * 5000, "🦆", "1e999", "null"])
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=6,
)


def request_models() -> list[type[BaseModel]]:
    """Models of all request bodies, of clients and of workers."""
    routes = [route for router in CLIENT_ROUTERS for route in router.routes if isinstance(route, APIRoute)]
    bodies = [route.body_field.field_info.annotation for route in routes if route.body_field is not None]
    found = {body for body in bodies if isinstance(body, type) and issubclass(body, BaseModel)}
    return sorted(
        found | {protocol.ClaimRequest, protocol.AppendRequest, protocol.WorkerReport}, key=lambda m: m.__name__
    )


def mutated(document: Any, draw: Any) -> tuple[Any, str]:
    """The document with one place changed, and a JSON pointer to it."""
    changed, pointer = copy.deepcopy(document), ""
    place = changed
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = draw(st.sampled_from([*keys, "a_new_key"]) if isinstance(place, dict) else st.sampled_from(keys))
        pointer += f"/{key}"
        inner = place.get(key) if isinstance(place, dict) else place[key]
        if isinstance(inner, dict | list) and inner and draw(st.booleans()):
            place = inner
            continue
        place[key] = draw(VALUES)
        return changed, pointer


@pytest.mark.parametrize("model", request_models(), ids=lambda model: model.__name__)
@GENERATED
@given(document=st.dictionaries(TEXTS, VALUES, max_size=4))
def test_a_request_model_takes_anything_or_says_what_is_wrong(model: type[BaseModel], document: dict[str, Any]) -> None:
    names = list(model.model_fields)
    filled = dict(zip(names, document.values(), strict=False)) | document
    for body in (document, filled):
        with suppress(ValidationError):
            accepted = model.model_validate(body)
            assert model.model_validate_json(accepted.model_dump_json()) == accepted


def test_hundreds_of_specs_with_one_place_changed_are_refused_there_or_accepted(client: TestClient) -> None:
    document = spec_document(
        optimizer={"name": "sgd", "lr": 0.1},
        lr_schedule={"name": "multistep", "milestones": [5, 9]},
        checkpoint={"every_steps": 5},
        resources={"devices": 2, "labels": ["a"]},
        limits={"max_runtime": 60},
    )
    statuses: list[int] = []

    @settings(GENERATED, max_examples=600)
    @given(data=st.data())
    def ask(data: st.DataObject) -> None:
        changed, pointer = mutated(document, data.draw)
        try:
            answer = client.post("/v1/jobs:validate", json=changed)
        except (ValueError, UnicodeEncodeError):  # NaN and lone surrogates: this client cannot even say it
            return
        statuses.append(answer.status_code)
        assert answer.status_code in (200, 400, 413, 422), (changed, answer.text)
        if answer.status_code == 422:
            faults = [error.get("pointer", "") for error in answer.json()["errors"]]
            section = "/" + pointer.split("/")[1]
            # A value that fits its own field may not fit another: then that one is named.
            assert all(faults), answer.text
            assert any(fault.startswith(section) for fault in faults) or len(pointer.split("/")) > 1, answer.text

    ask()
    assert len(statuses) > 500
    assert statuses.count(422) > 250
    assert client.get("/v1/jobs").json()["data"] == []


PLACES = ["cursor", "after", "Last-Event-ID", "Idempotency-Key", "Range", "limit", "job"]


def test_strange_cursors_headers_and_ids_are_refused(client: TestClient) -> None:
    @settings(GENERATED, max_examples=250)
    @given(value=TEXTS, place=st.sampled_from(PLACES))
    def ask(value: str, place: str) -> None:
        header = value.encode("utf-8", "surrogatepass")
        unknown = "job_" + "0" * 24
        if place[0].isupper() and any(byte < 32 or byte == 127 for byte in header):
            return  # no client can send it
        match place:
            case "cursor" | "limit":
                answer = client.get("/v1/jobs", params={place: value})
            case "after":
                answer = client.get(f"/v1/jobs/{unknown}/events", params={place: value})
            case "Last-Event-ID":
                answer = client.get(f"/v1/jobs/{unknown}/stream", headers={place.encode(): header})
            case "Idempotency-Key":
                answer = client.post("/v1/jobs", json={}, headers={place.encode(): header})
            case "Range":
                answer = client.get(f"/v1/jobs/{unknown}/checkpoints", headers={place.encode(): header})
            case _:
                answer = client.get(f"/v1/jobs/{quote(value, safe='')}")
        assert answer.status_code < 500, (place, value, answer.text)

    ask()


def test_hundreds_of_forged_keys_are_refused_alike(keyed: Keyed) -> None:
    key = keyed.key("operator")["Authorization"].removeprefix("Bearer ")
    assert keyed.client.get("/v1/jobs", headers={"Authorization": f"Bearer {key}"}).status_code == 200
    bodies = set()

    @settings(GENERATED, max_examples=200)
    @given(
        at=st.integers(0, len(key) - 1), letter=st.characters(min_codepoint=33, max_codepoint=126), cut=st.booleans()
    )
    def forge(at: int, letter: str, cut: bool) -> None:
        forged = key[:at] + ("" if cut else letter) + key[at + 1 :]
        if forged == key:
            return
        answer = keyed.client.get("/v1/jobs", headers={"Authorization": f"Bearer {forged}"})
        assert answer.status_code == 401, forged
        bodies.add(answer.json()["code"])

    forge()
    assert len(bodies) == 1, "what is wrong with a key is nobody's business"


def archive() -> bytes:
    """A good upload."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as opened:
        opened.writestr("train.txt", "a b c " * 200)
        opened.writestr("valid.txt", "a b c " * 20)
    return file.getvalue()


def test_damaged_uploads_are_refused_and_leave_nothing(client: TestClient, storage_url: str) -> None:
    good = archive()
    headers = {"Content-Type": "application/octet-stream"}

    @settings(GENERATED, max_examples=120)
    @given(data=st.data())
    def upload(data: st.DataObject) -> None:
        content = bytearray(good)
        for _ in range(data.draw(st.integers(1, 4))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        content = content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content
        answer = client.post("/v1/datasets", params={"name": "x"}, content=bytes(content), headers=headers)
        assert answer.status_code in (200, 201, 400, 409, 413, 422), answer.text

    upload()
    kept = len(client.get("/v1/datasets", params={"limit": 100}).json()["data"])
    files = [path for path in Path(storage_url).rglob("*") if path.is_file()]
    assert len(files) <= max(kept, 1), files
    assert not [path for path in files if "partial" in path.name]


# A worker that lies


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_a_metric_that_is_no_number_is_refused_by_name(client: TestClient, claim: Claim, number: str) -> None:
    client.post("/v1/jobs", json=spec_document()).raise_for_status()
    assignment = claim()
    assert assignment is not None
    record = step(0).model_dump_json().replace(f'"loss":{step(0).loss}', f'"loss":{number}')
    assert number in record
    body = f'{{"first_seq":1,"records":[{started().model_dump_json()},{record}]}}'
    answer = _send(client, assignment, body.encode())
    assert answer.status_code == 422, answer.text
    assert "loss" in answer.json()["errors"][0]["pointer"]
    assert client.get(f"/v1/jobs/{assignment['job_id']}").json()["state"] == "starting", "all or nothing"


def test_a_record_of_100_mb_is_refused_by_its_size(client: TestClient, claim: Claim) -> None:
    client.post("/v1/jobs", json=spec_document()).raise_for_status()
    assignment = claim()
    assert assignment is not None
    answer = _send(client, assignment, b'{"first_seq":1,"records":[{"message":"' + b"x" * 100_000_000 + b'"}]}')
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


def test_a_step_past_the_end_of_the_job_is_refused(client: TestClient, claim: Claim) -> None:
    client.post("/v1/jobs", json=spec_document()).raise_for_status()
    assignment = claim()
    assert assignment is not None
    records = f"[{started().model_dump_json()},{step(1_000_000).model_dump_json()}]"
    answer = _send(client, assignment, f'{{"first_seq":1,"records":{records}}}'.encode())
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_record")
    assert "1000000" in answer.json()["detail"]


def _send(client: TestClient, assignment: dict[str, Any], body: bytes) -> Any:
    return client.post(
        f"/v1/agent/jobs/{assignment['job_id']}/attempts/{assignment['attempt']}/records",
        content=body,
        headers={"Authorization": f"Bearer {assignment['token']}", "Content-Type": "application/json"},
    )


# Clients that take their time


@contextmanager
def listening(database_url: str, data_root: Path) -> Iterator[int]:
    """Port of a real server."""
    app = create_app(
        ApiSettings(
            database_url=SecretStr(database_url),
            broker_url=SecretStr("redis://127.0.0.1:1/0"),
            agent_token=SecretStr(AGENT_TOKEN),
            auth="off",
            storage_url=str(data_root),
        )
    )
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join(20)


def test_two_hundred_slow_clients_hold_nobody_up(sqlite_url: str, data_root: Path) -> None:
    """Slow-loris: heads and bodies that never end. Others are answered all the while."""
    with listening(sqlite_url, data_root) as port, ExitStack() as held:
        slow = []
        for number in range(200):
            connection = held.enter_context(closing(socket.create_connection(("127.0.0.1", port), 5)))
            head = b"POST /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            connection.sendall(head + (b"Content-Length: 1000\r\n\r\n{" if number % 2 else b"X-Slow: "))
            slow.append(connection)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20, trust_env=False) as client:
            for _ in range(20):
                assert client.get("/v1/jobs").status_code == 200
                for connection in slow:
                    connection.sendall(b"a")
            assert client.post("/v1/jobs", json=spec_document(dataset={"name": "digits"})).status_code == 201
