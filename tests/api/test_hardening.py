"""What every answer carries, who may talk to a server without keys, and what start-up refuses."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr, ValidationError

from api.settings import ApiSettings
from tests.api.conftest import AGENT_TOKEN, Keyed, serving
from tests.api.factories import spec_document


def settings(**fields: Any) -> ApiSettings:
    return ApiSettings(agent_token=SecretStr(AGENT_TOKEN), **fields)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7", "cpt.example.org", "127.example.org"])
def test_without_keys_it_does_not_start_where_others_reach_it(host: str) -> None:
    with pytest.raises(ValidationError, match="CPT_AUTH=off lets everybody in"):
        settings(auth="off", host=host)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_without_keys_it_starts_on_loopback(host: str) -> None:
    assert settings(auth="off", host=host).auth == "off"


def test_keys_are_asked_for_unless_somebody_says_otherwise() -> None:
    assert settings().auth == "keys"


@pytest.mark.parametrize("origin", ["*", "null", "example.org", "https://example.org/"])
def test_an_origin_that_is_none_is_refused(origin: str) -> None:
    with pytest.raises(ValidationError, match="is no origin"):
        settings(cors_origins=origin)


SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def test_every_answer_carries_the_security_headers(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_args: object, **_kwargs: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr("api.jobs.service.get", broken)
    answers = {
        200: client.get("/healthz"),
        201: client.post("/v1/jobs", json=spec_document()),
        404: client.get("/v1/nothing"),
        405: client.put("/v1/jobs"),
        413: client.post("/v1/jobs", content=b"x" * 300_000),
        422: client.post("/v1/jobs", json={}),
        400: client.get("/healthz", headers={"Host": "evil.example"}),
        401: client.post("/v1/agent/claim", json={}),
        500: client.get("/v1/jobs/job_" + "0" * 24),
    }
    for status, answer in answers.items():
        assert answer.status_code == status, answer.text
        assert {name: answer.headers.get(name) for name in SECURITY_HEADERS} == SECURITY_HEADERS, status
        assert answer.headers["X-Request-Id"].startswith("req_")
        assert "Server" not in answer.headers


def test_the_request_id_is_the_clients_if_it_is_harmless(client: TestClient) -> None:
    assert client.get("/healthz", headers={"X-Request-Id": "abc-1.2_3"}).headers["X-Request-Id"] == "abc-1.2_3"
    for harmful in ("", "x" * 65, "a b", "<script>", "a,b"):
        assert client.get("/healthz", headers={"X-Request-Id": harmful}).headers["X-Request-Id"].startswith("req_")


def test_a_defect_is_told_with_the_request_id_in_the_log_and_nothing_of_it_in_the_answer(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_args: object, **_kwargs: object) -> None:
        raise RuntimeError("internals")

    monkeypatch.setattr("api.jobs.service.page", broken)
    with caplog.at_level(logging.ERROR):
        answer = client.get("/v1/jobs", headers={"X-Request-Id": "find-me"})
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert "internals" not in answer.text
    assert "find-me" in caplog.text
    assert "internals" in caplog.text


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "", "[", "10.0.0.7"])
def test_without_keys_another_name_for_this_machine_is_refused(client: TestClient, host: str) -> None:
    """DNS rebinding: a page of evil.example whose name has come to mean 127.0.0.1."""
    answer = client.get("/v1/jobs", headers={"Host": host})
    assert (answer.status_code, answer.json()["code"]) == (400, "host_not_allowed")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:8000", "localhost:8000", "LOCALHOST", "[::1]:8000"])
def test_without_keys_this_machines_names_are_answered(client: TestClient, host: str) -> None:
    assert client.get("/v1/jobs", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"},
        {"Sec-Fetch-Site": "same-site", "Origin": "http://127.0.0.1:3000"},  # another port is another program
        {"Origin": "https://evil.example"},
        {"Origin": "http://127.0.0.1:3000"},
        {"Origin": "null"},
    ],
)
@pytest.mark.parametrize("content_type", ["application/json", "text/plain"])
def test_without_keys_another_sites_page_changes_nothing(
    client: TestClient, headers: dict[str, str], content_type: str
) -> None:
    body = spec_document()
    answer = client.post("/v1/jobs", json=body, headers=headers | {"Content-Type": content_type})
    assert (answer.status_code, answer.json()["code"]) == (403, "cross_site")
    assert client.get("/v1/jobs").json()["data"] == []


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec-Fetch-Site": "same-origin", "Origin": "http://127.0.0.1"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "http://127.0.0.1"},
    ],
)
def test_without_keys_programs_and_its_own_pages_may_change_things(client: TestClient, headers: dict[str, str]) -> None:
    assert client.post("/v1/jobs", json=spec_document(), headers=headers).status_code == 201


def preflight(client: TestClient, origin: str) -> dict[str, str]:
    asked = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization",
    }
    return dict(client.options("/v1/jobs", headers=asked).headers)


def test_no_other_site_may_read_answers_by_default(keyed: Keyed) -> None:
    origin = "https://cpt.example.org"
    answer = keyed.client.get("/v1/jobs", headers=keyed.key("read") | {"Origin": origin})
    assert not [name for name in answer.headers if name.startswith("access-control")]
    assert not [name for name in preflight(keyed.client, origin) if name.startswith("access-control")]


def test_only_the_named_origins_may_read_answers(tmp_path: Path, data_root: Path) -> None:
    origins = "https://cpt.example.org, http://localhost:3000"
    with serving(f"sqlite:///{tmp_path}/cors.db", data_root, cors_origins=origins) as client:
        for origin in ("https://cpt.example.org", "http://localhost:3000"):
            assert preflight(client, origin)["access-control-allow-origin"] == origin
        assert "access-control-allow-origin" not in preflight(client, "https://evil.example")
        refused = client.get("/v1/jobs", headers={"Origin": "https://cpt.example.org"})
        assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, "https://cpt.example.org")


def test_the_schema_says_which_scope_each_operation_needs(client: TestClient) -> None:
    schema = client.get("/openapi.json").json()
    assert schema["components"]["securitySchemes"]["ApiKey"]["scheme"] == "bearer"
    assert schema["paths"]["/v1/jobs"]["get"]["security"] == [{"ApiKey": ["read"]}]
    assert schema["paths"]["/v1/jobs"]["post"]["security"] == [{"ApiKey": ["submit"]}]
    assert schema["paths"]["/v1/agent/claim"]["post"]["security"] == [{"AgentToken": []}]
    for path, methods in schema["paths"].items():
        for operation in methods.values():
            assert path in ("/healthz", "/readyz", "/metrics") or operation["security"], path
            assert "security" not in operation or "401" in operation["responses"], path
