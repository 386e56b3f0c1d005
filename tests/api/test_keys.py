"""API keys: what they open, how long, and what is kept of them."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text

from api.keys.authenticator import CACHE_SECONDS
from tests.api.conftest import Keyed
from tests.api.factories import spec_document


def create(keyed: Keyed, headers: dict[str, str], **fields: Any) -> dict[str, Any]:
    answer = keyed.client.post("/v1/keys", json={"name": "ci", **fields}, headers=headers)
    assert answer.status_code == 201, answer.text
    return answer.json()


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Basic Zm9vOmJhcg=="},
        {"Authorization": "Bearer "},
        bearer("not-a-key"),
        bearer("cpt_" + "0" * 16 + "_" + "0" * 64),
        bearer("cpt_" + "0" * 16 + "_" + "0" * 64 + "\xff"),
    ],
)
def test_without_a_valid_key_nothing_opens(keyed: Keyed, headers: dict[str, str]) -> None:
    answer = keyed.client.get("/v1/jobs", headers={name: value.encode("latin-1") for name, value in headers.items()})
    assert (answer.status_code, answer.json()["code"]) == (401, "invalid_token")
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_a_key_with_a_changed_secret_does_not_open(keyed: Keyed) -> None:
    key = keyed.key("read")["Authorization"]
    changed = key[:-1] + ("0" if key[-1] != "0" else "1")
    assert keyed.client.get("/v1/jobs", headers={"Authorization": key}).status_code == 200
    assert keyed.client.get("/v1/jobs", headers={"Authorization": changed}).status_code == 401


def test_each_scope_includes_those_before_it_and_no_more(keyed: Keyed) -> None:
    requests: dict[str, tuple[str, str, Any]] = {
        "read": ("GET", "/v1/jobs", None),
        "submit": ("POST", "/v1/jobs", spec_document()),
        "admin": ("POST", "/v1/keys", {"name": "x", "scope": "read"}),
        "operator": ("POST", "/v1/projects", {"id": "p", "name": "P"}),
    }
    order = list(requests)
    for scope in order:
        headers = keyed.key(scope)
        for needed, (method, path, body) in requests.items():
            answer = keyed.client.request(method, path, json=body, headers=headers)
            if order.index(scope) >= order.index(needed):
                assert answer.status_code in (200, 201), (scope, needed, answer.text)
            else:
                assert (answer.status_code, answer.json()["code"]) == (403, "insufficient_scope")
                assert answer.json()["required_scope"] == needed
                assert f'scope="{needed}"' in answer.headers["WWW-Authenticate"]


def test_a_key_is_shown_once_and_stored_as_its_hash_alone(keyed: Keyed) -> None:
    admin = keyed.key("admin")
    made = create(keyed, admin)
    assert made["key"].startswith(made["prefix"] + "_")
    secret = made["key"].removeprefix(made["prefix"])
    listed = keyed.client.get("/v1/keys", headers=admin)
    assert made["id"] in listed.text
    assert secret not in listed.text
    with keyed.services.database.read() as session:
        for table in ("api_keys", "audit_entries"):
            assert secret not in str(session.execute(text(f"SELECT * FROM {table}")).all())


def test_a_key_knows_itself(keyed: Keyed) -> None:
    answer = keyed.client.get("/v1/keys/self", headers=keyed.key("read"))
    assert (answer.json()["scope"], answer.json()["project"]) == ("read", "default")


def test_an_admin_makes_keys_of_its_own_project_up_to_its_own_scope(keyed: Keyed) -> None:
    keyed.project("other")
    admin, operator = keyed.key("admin"), keyed.key("operator")
    for fields in ({"scope": "operator"}, {"project": "other"}):
        answer = keyed.client.post("/v1/keys", json={"name": "x", **fields}, headers=admin)
        assert (answer.status_code, answer.json()["required_scope"]) == (403, "operator")
    assert create(keyed, operator, project="other")["project"] == "other"
    answer = keyed.client.post("/v1/keys", json={"name": "x", "project": "nowhere"}, headers=operator)
    assert answer.json()["errors"][0]["pointer"] == "/project"


def test_a_revoked_key_is_refused_from_then_on(keyed: Keyed) -> None:
    admin = keyed.key("admin")
    made = create(keyed, admin)
    assert keyed.client.get("/v1/jobs", headers=bearer(made["key"])).status_code == 200  # remembered from now on
    first = keyed.client.delete(f"/v1/keys/{made['id']}", headers=admin).json()
    assert keyed.client.get("/v1/jobs", headers=bearer(made["key"])).status_code == 401
    again = keyed.client.delete(f"/v1/keys/{made['id']}", headers=admin)
    assert (again.status_code, again.json()["revoked_at"]) == (200, first["revoked_at"])


def test_a_revocation_elsewhere_is_seen_when_the_memory_of_the_key_ends(
    keyed: Keyed, monkeypatch: pytest.MonkeyPatch
) -> None:
    headers = keyed.key("read")
    assert keyed.client.get("/v1/jobs", headers=headers).status_code == 200
    with keyed.services.database.write() as session:  # as another process of the API does
        session.execute(text("UPDATE api_keys SET revoked_at = CURRENT_TIMESTAMP"))
    later = time.monotonic() + CACHE_SECONDS
    monkeypatch.setattr("api.keys.authenticator.time.monotonic", lambda: later)
    assert keyed.client.get("/v1/jobs", headers=headers).status_code == 401


def test_an_expired_key_is_refused_even_while_it_is_remembered(keyed: Keyed, monkeypatch: pytest.MonkeyPatch) -> None:
    end = datetime.now(UTC) + timedelta(hours=1)
    headers = keyed.key("read", expires_at=end)
    assert keyed.client.get("/v1/jobs", headers=headers).status_code == 200
    monkeypatch.setattr("api.keys.authenticator.now", lambda: end)
    answer = keyed.client.get("/v1/jobs", headers=headers)
    assert answer.status_code == 401
    assert "expired" in answer.json()["detail"]


def test_a_key_cannot_be_made_to_end_in_the_past(keyed: Keyed) -> None:
    body = {"name": "x", "expires_at": "2020-01-01T00:00:00Z"}
    answer = keyed.client.post("/v1/keys", json=body, headers=keyed.key("admin"))
    assert answer.json()["errors"][0]["pointer"] == "/expires_at"


def test_the_last_use_is_stored_in_the_background_and_not_by_requests(keyed: Keyed) -> None:
    headers = keyed.key("read")

    def last_used() -> Any:
        return keyed.client.get("/v1/keys/self", headers=headers).json()["last_used_at"]

    assert last_used() is None
    assert last_used() is None
    keyed.services.keys.write_uses()
    assert abs(datetime.fromisoformat(last_used()) - datetime.now(UTC)) < timedelta(minutes=1)


def test_keys_are_listed_page_by_page_newest_first(keyed: Keyed) -> None:
    admin = keyed.key("admin")
    made = [create(keyed, admin)["id"] for _ in range(3)]
    first = keyed.client.get("/v1/keys?limit=2", headers=admin).json()
    assert [key["id"] for key in first["data"]] == [made[2], made[1]]
    rest = keyed.client.get(f"/v1/keys?cursor={first['next_cursor']}", headers=admin).json()
    assert rest["data"][0]["id"] == made[0]
    assert not rest["has_more"]


def test_a_server_without_keys_says_so(client: TestClient) -> None:
    assert client.get("/v1/keys/self").json()["code"] == "key_not_found"
