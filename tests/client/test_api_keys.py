"""Keys as users meet them: the first one at the server's command line, the others with `cpt keys`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest

from cpt_client import Client, CptError
from tests.client.conftest import Api, submit


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A server that asks for keys."""
    api = Api(tmp_path_factory.mktemp("guarded"), CPT_AUTH="keys")
    yield api
    api.close()


@pytest.fixture(scope="module")
def first_key(guarded: Api) -> str:
    """Made where the database is, as whoever runs the server does."""
    return cpt(guarded, "api", "create-key", "root").stdout.strip()


def cpt(api: Api, *arguments: str, key: str | None = None) -> subprocess.CompletedProcess[str]:
    env = api.env | {"CPT_URL": api.url, "CPT_API_KEY": key or ""}
    command = [sys.executable, "-m", "cpt_client", *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=120)


def test_the_first_key_is_alone_on_stdout_and_opens_everything(guarded: Api, first_key: str) -> None:
    with Client(guarded.url, api_key=first_key) as client:
        assert submit(client, "first-key").state == "queued"
    headers = {"Authorization": f"Bearer {first_key}"}
    audit = httpx.get(f"{guarded.url}/v1/audit?action=create_key", headers=headers, trust_env=False).json()["data"]
    assert [(entry["actor"], entry["address"]) for entry in audit] == [("operator", None)]


def test_the_first_keys_mistakes_are_told(guarded: Api) -> None:
    done = cpt(guarded, "api", "create-key", "root", "--project", "nowhere")
    assert (done.returncode, done.stdout) == (2, "")
    assert "no such project" in done.stderr


def test_a_client_without_a_key_is_told_how_to_send_one(guarded: Api) -> None:
    done = cpt(guarded, "list")
    assert done.returncode == 2
    assert "hint: set CPT_API_KEY" in done.stderr


def test_the_client_takes_its_key_from_the_environment(
    guarded: Api, first_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CPT_API_KEY", f" {first_key}\n")
    with Client(guarded.url) as client:
        list(client.list())


def test_a_key_that_no_header_can_carry_is_refused_without_being_shown() -> None:
    with pytest.raises(CptError) as caught:
        Client(api_key="cpt_secret\r\nX-Evil: 1")
    assert caught.value.code == "invalid_key"
    assert "secret" not in str(caught.value)


def test_keys_are_made_listed_and_revoked(guarded: Api, first_key: str) -> None:
    made = cpt(guarded, "keys", "create", "ci", "--scope", "read", "--days", "30", key=first_key)
    assert made.returncode == 0, made.stderr
    key = made.stdout.strip()
    assert key not in made.stderr
    with Client(guarded.url, api_key=key) as client:
        list(client.list())
        with pytest.raises(CptError) as caught:
            submit(client, "read-only")
    assert (caught.value.status, caught.value.code) == (403, "insufficient_scope")
    listed = [json.loads(line) for line in cpt(guarded, "keys", "list", "--json", key=first_key).stdout.splitlines()]
    [found] = [item for item in listed if item["name"] == "ci"]
    assert "valid until" in cpt(guarded, "keys", "list", key=first_key).stdout
    assert cpt(guarded, "keys", "revoke", found["id"], key=first_key).stdout == f"{found['id']} is revoked\n"
    assert cpt(guarded, "list", key=key).returncode == 2
    assert "revoked" in cpt(guarded, "keys", "list", key=first_key).stdout


def test_a_key_that_is_not_there_is_told_with_the_way_to_those_that_are(guarded: Api, first_key: str) -> None:
    done = cpt(guarded, "keys", "revoke", "key_" + "0" * 16, key=first_key)
    assert (done.returncode, "`cpt keys list`" in done.stderr) == (2, True)


def test_without_keys_the_server_does_not_start_for_others() -> None:
    env = os.environ | {"CPT_AGENT_TOKEN": "an-agent-token-for-tests", "CPT_AUTH": "off", "CPT_HOST": "0.0.0.0"}
    done = subprocess.run(
        [sys.executable, "-m", "api"], env=env, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 2
    assert "CPT_AUTH=off lets everybody in" in done.stderr
