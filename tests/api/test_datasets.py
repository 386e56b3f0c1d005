"""Uploaded datasets: checked when they come, immutable, held by the jobs that train on them."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi.testclient import TestClient

from api.deps import Services
from api.files.service import FileSweeper
from cpt_core.storage import open_storage
from cpt_core.uploads import Upload, fetch, root_of
from tests.api.conftest import Claim, Keyed
from tests.api.factories import spec_document
from tests.core.test_archives import targz, tarred, zipped

TEXT = {"corpus/book.txt": b"in the beginning\n" * 50}
ON_IT = {"name": "text", "upload": "book", "path": "corpus"}
MODEL = {"name": "lstm_lm"}


def services(client: TestClient) -> Services:
    found: Services = client.app.state.services  # type: ignore[attr-defined]
    return found


def upload(client: TestClient, content: Any, name: str = "book", **headers: str) -> httpx2.Response:
    headers = {"Content-Type": "application/octet-stream", **headers}
    return client.post("/v1/datasets", params={"name": name}, content=content, headers=headers)


def submit(client: TestClient, **dataset: Any) -> httpx2.Response:
    return client.post("/v1/jobs", json=spec_document(model=MODEL, dataset={**ON_IT, **dataset}))


def files_of(storage_url: str) -> list[Path]:
    return [path for path in Path(storage_url).rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("pack", "media_type"),
    [(zipped, "application/zip"), (tarred, "application/x-tar"), (targz, "application/gzip")],
)
def test_an_archive_is_kept_as_it_came(client: TestClient, storage_url: str, pack: Any, media_type: str) -> None:
    content = pack(TEXT)
    answer = upload(client, content, **{"Content-Type": media_type})
    assert (answer.status_code, answer.headers["location"]) == (201, "/v1/datasets/book")
    found = answer.json()
    assert found["sha256"] == hashlib.sha256(content).hexdigest()
    assert (found["size"], found["files"], found["unpacked_size"]) == (len(content), 1, 850)
    assert client.get("/v1/datasets/book").json() == found
    assert client.get("/v1/datasets").json()["data"] == [found]
    (kept,) = files_of(storage_url)
    assert kept.read_bytes() == content


def test_the_same_again_is_the_same_and_another_one_of_that_name_is_refused(
    client: TestClient, storage_url: str
) -> None:
    first = upload(client, zipped(TEXT))
    again = upload(client, zipped(TEXT))
    assert (again.status_code, again.json()) == (200, first.json())
    other = upload(client, tarred(TEXT))
    assert (other.status_code, other.json()["code"]) == (409, "dataset_exists")
    assert other.json()["errors"][0]["parameter"] == "name"
    assert len(files_of(storage_url)) == 1


def test_uploads_at_the_same_moment_make_one(client: TestClient, storage_url: str) -> None:
    answers: list[int] = []
    threads = [
        threading.Thread(target=lambda: answers.append(upload(client, zipped(TEXT)).status_code)) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [200, 200, 200, 201]
    FileSweeper(services(client).database, services(client).storage).tick()
    assert len(files_of(storage_url)) == 1


HOSTILE = {
    "traversal": (zipped({"../../evil": b"x"}), "archive_unsafe_name"),
    "absolute": (tarred({"/etc/evil": b"x"}), "archive_unsafe_name"),
    "link": (tarred({"evil": b""}, type=b"2", linkname="/etc/passwd"), "archive_special_file"),
    "twice": (tarred({"a": b"x", "./a": b"x"}), "archive_duplicate_name"),
    "truncated": (targz(TEXT)[:-40], "archive_damaged"),
    "empty": (zipped({}), "archive_empty"),
    "no archive": (b"hello", "archive_unknown_format"),
    "nothing": (b"", "archive_unknown_format"),
    "too large unpacked": (targz({"a": bytes(200_000)}), "archive_too_large"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_bad_archive_is_refused_and_nothing_stays(client: TestClient, storage_url: str, kind: str) -> None:
    services(client).settings.__dict__["max_dataset_bytes"] = 100_000
    content, code = HOSTILE[kind]
    answer = upload(client, content)
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (422, code)
    assert answer.json()["errors"][0]["pointer"] == ""
    assert client.get("/v1/datasets").json()["data"] == []
    assert files_of(storage_url) == []


def test_a_body_that_is_too_large_is_refused_before_it_is_read_and_while_it_comes(client: TestClient) -> None:
    services(client).settings.__dict__["max_dataset_bytes"] = 100_000
    read = 0

    def body() -> Iterator[bytes]:
        nonlocal read
        for _ in range(100):
            read += 1
            yield b"x" * 10_000

    for content in (b"x" * 100_001, body()):
        answer = upload(client, content)
        assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


@pytest.mark.parametrize(
    ("name", "headers", "status", "parameter"),
    [
        ("../x", {}, 422, "name"),
        ("", {}, 422, "name"),
        ("book", {"Content-Type": "multipart/form-data; boundary=x"}, 415, "Content-Type"),
        ("book", {"Content-Type": "image/png"}, 415, "Content-Type"),
    ],
)
def test_a_bad_name_or_type_is_refused_by_name(
    client: TestClient, name: str, headers: dict[str, str], status: int, parameter: str
) -> None:
    answer = upload(client, zipped(TEXT), name, **headers)
    assert (answer.status_code, answer.json()["errors"][0]["parameter"]) == (status, parameter)


class TestJobs:
    def test_a_worker_is_told_what_the_name_means_and_unpacks_it_once(
        self, client: TestClient, claim: Claim, storage_url: str, tmp_path: Path
    ) -> None:
        upload(client, zipped(TEXT))
        assert submit(client).status_code == 201
        claimed = claim("a")
        assert claimed is not None
        found = Upload.model_validate(claimed["upload"])
        for _ in range(2):
            fetch(storage_url, found, tmp_path / "cache")
            open_storage(storage_url).delete(found.path)  # the second time it is there already
        unpacked = root_of(tmp_path / "cache", found) / "book"
        assert (unpacked / "corpus" / "book.txt").read_bytes() == TEXT["corpus/book.txt"]
        assert [path.name for path in unpacked.parent.iterdir()] == ["book"]

    def test_a_name_that_there_is_not_is_refused(self, client: TestClient) -> None:
        for path in ("/v1/jobs", "/v1/jobs:validate"):
            answer = client.post(path, json=spec_document(model=MODEL, dataset=ON_IT))
            assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/dataset/upload")

    @pytest.mark.parametrize("path", ["../other", "/etc", "a\\b"])
    def test_a_path_out_of_the_upload_is_refused(self, client: TestClient, path: str) -> None:
        upload(client, zipped(TEXT))
        answer = submit(client, path=path)
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/dataset/path")

    def test_a_dataset_stays_as_long_as_a_job_needs_it(self, client: TestClient, storage_url: str) -> None:
        upload(client, zipped(TEXT))
        job = submit(client).json()
        answer = client.delete("/v1/datasets/book")
        assert (answer.status_code, answer.json()["code"], answer.json()["jobs"]) == (
            409,
            "dataset_in_use",
            [job["id"]],
        )
        client.post(f"/v1/jobs/{job['id']}/cancel")
        assert client.delete("/v1/datasets/book").status_code == 204
        assert client.get("/v1/datasets/book").status_code == 404
        assert client.delete("/v1/datasets/book").status_code == 404
        FileSweeper(services(client).database, services(client).storage).tick()
        assert files_of(storage_url) == []
        assert upload(client, tarred(TEXT)).status_code == 201


def test_an_archive_larger_than_the_room_left_in_its_project_is_refused(keyed: Keyed) -> None:
    content = zipped(TEXT)
    keyed.project("small", max_dataset_bytes=len(content) + 10)
    headers = keyed.key("submit", "small")
    assert upload(keyed.client, content, "first", **headers).status_code == 201
    answer = upload(keyed.client, content, "second", **headers)
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
    names = [item["name"] for item in keyed.client.get("/v1/datasets", headers=headers).json()["data"]]
    assert names == ["first"]


def test_a_project_that_has_no_room_left_for_datasets_gets_it_back_by_deleting_one(keyed: Keyed) -> None:
    content = zipped(TEXT)
    keyed.project("full", max_dataset_bytes=len(content))
    headers = keyed.key("submit", "full")
    assert upload(keyed.client, content, "first", **headers).status_code == 201
    answer = upload(keyed.client, content, "second", **headers)
    assert (answer.status_code, answer.json()["code"]) == (409, "dataset_bytes_limit")
    assert upload(keyed.client, content, "first", **keyed.key("submit")).status_code == 201  # another project
    assert keyed.client.delete("/v1/datasets/first", headers=headers).status_code == 204
    assert upload(keyed.client, content, "second", **headers).status_code == 201
