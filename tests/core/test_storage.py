"""Storage: the same in a folder and in a bucket; whole or not there; nowhere but below its root."""

from __future__ import annotations

import io
import os
from pathlib import Path

import httpx
import pytest

from cpt_core.storage import FileMissingError, Storage, StorageError, check_access, open_storage
from cpt_core.storage.base import CHUNK_BYTES, chunks


@pytest.fixture
def storage(any_storage: str) -> Storage:
    return open_storage(any_storage)


def test_a_file_is_read_as_it_was_put_whole_and_in_parts(storage: Storage) -> None:
    content = os.urandom(2 * CHUNK_BYTES + 17)
    storage.put("datasets/a", io.BytesIO(content))
    assert storage.size("datasets/a") == len(content)
    assert storage.read("datasets/a") == content
    assert storage.read("datasets/a", 5, 9) == content[5:9]
    assert storage.read("datasets/a", len(content) - 3) == content[-3:]
    assert b"".join(chunks(storage, "datasets/a", 1, len(content))) == content[1:]


def test_an_empty_file_is_a_file(storage: Storage) -> None:
    storage.put("logs/empty", io.BytesIO())
    assert (storage.size("logs/empty"), storage.read("logs/empty")) == (0, b"")


def test_a_file_is_replaced(storage: Storage) -> None:
    for content in (b"before", b"after"):
        storage.put("a", io.BytesIO(content))
    assert storage.read("a") == b"after"


def test_a_source_that_fails_leaves_nothing_and_what_was_there_before(storage: Storage, any_storage: str) -> None:
    class Broken(io.BytesIO):
        def read(self, *size: int | None) -> bytes:
            if self.tell():
                raise ConnectionError("the client is gone")
            return super().read(4)

    storage.put("folder/kept", io.BytesIO(b"before"))
    for path in ("folder/kept", "folder/new"):
        with pytest.raises((StorageError, ConnectionError), match="the client is gone"):
            storage.put(path, Broken(b"half done"))
    assert storage.read("folder/kept") == b"before"
    with pytest.raises(FileMissingError):
        storage.read("folder/new")
    if "://" not in any_storage:
        assert [path.name for path in Path(any_storage, "folder").iterdir()] == ["kept"]


def test_what_a_killed_writer_left_half_written_is_cleared_and_what_is_complete_stays(tmp_path: Path) -> None:
    storage = open_storage(str(tmp_path))
    storage.put_folder("job/1/step-4", {"model": b"x", "manifest": b"y"}, last="manifest")
    (tmp_path / "job/1/step-8.partial").mkdir()
    (tmp_path / "job/1/step-8.partial/model").write_bytes(b"x")
    (tmp_path / "job/1/log.0123.partial").write_bytes(b"x")
    storage.clear("job/1")
    assert [path.name for path in (tmp_path / "job/1").iterdir()] == ["step-4"]
    storage.clear("job/2")


def test_what_is_not_there_is_missing(storage: Storage) -> None:
    for ask in (storage.size, storage.read):
        with pytest.raises(FileMissingError, match="nowhere is not in"):
            ask("nowhere")


def test_a_file_and_a_folder_are_deleted_with_all_below_and_nothing_else(storage: Storage) -> None:
    for path in ("logs/a/1/x", "logs/a/2/y", "logs/ab/1/x", "logs/z"):
        storage.put(path, io.BytesIO(b"."))
    for path in ("logs/a", "logs/z", "logs/nothing"):
        storage.delete(path)
    assert storage.read("logs/ab/1/x") == b"."
    for path in ("logs/a/1/x", "logs/a/2/y", "logs/z"):
        with pytest.raises(FileMissingError):
            storage.size(path)


@pytest.mark.parametrize("path", ["", "/etc/passwd", "../x", "a/../../x", "a\x00b"])
def test_a_path_that_leads_elsewhere_is_refused(storage: Storage, path: str) -> None:
    for ask in (storage.size, storage.read, storage.delete):
        with pytest.raises(StorageError, match="no path below the storage root"):
            ask(path)


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    root = tmp_path / "storage"
    root.mkdir()
    (root / "link").symlink_to(tmp_path)
    storage = open_storage(str(root))
    for ask in (storage.read, storage.delete):
        with pytest.raises(StorageError, match="a link there leads out of it"):
            ask("link/secret")
    assert (tmp_path / "secret").exists()


def test_a_bucket_signs_urls_that_anybody_may_read_a_part_of(s3_storage: str) -> None:
    storage = open_storage(s3_storage)
    storage.put("a/b", io.BytesIO(b"0123456789"))
    url = storage.sign("a/b", seconds=60, filename="weights.safetensors")
    assert url is not None
    answer = httpx.get(url, headers={"Range": "bytes=2-4"}, trust_env=False)
    assert (answer.status_code, answer.content) == (206, b"234")
    assert answer.headers["content-disposition"] == 'attachment; filename="weights.safetensors"'


def test_a_bucket_that_is_not_there_is_named(s3_server: str) -> None:
    with pytest.raises(StorageError, match="s3://no-such-bucket/x"):
        open_storage("s3://no-such-bucket/x").put("a", io.BytesIO(b"."))


def test_a_url_of_no_known_store_is_refused_with_the_remedy() -> None:
    with pytest.raises(StorageError, match=r"pip install 'cpt-service\[s3\]'"):
        open_storage("carrier-pigeon://coop")


def test_access_to_a_folder_is_proved_and_leaves_no_file(tmp_path: Path) -> None:
    check_access(str(tmp_path / "storage"))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
