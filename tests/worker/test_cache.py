"""Datasets stay on the machine within a limit, and as long as somebody uses them."""

import hashlib
import io
import os
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from cpt_core.archives import inspect
from cpt_core.storage import open_storage
from cpt_core.uploads import Upload, fetch, root_of
from tests.core.test_archives import zipped
from worker.cache import Cache

SIZE = 10_000


@pytest.fixture
def storage(tmp_path):
    return str(tmp_path / "storage")


@pytest.fixture
def uploads(storage):
    """Four datasets of the same size."""

    def upload(number):
        archive = zipped({"data.txt": random.Random(number).randbytes(SIZE)})
        path = f"datasets/{number}"
        open_storage(storage).put(path, io.BytesIO(archive))
        return Upload(
            name=f"set-{number}",
            path=path,
            sha256=hashlib.sha256(archive).hexdigest(),
            size=len(archive),
            unpacked=inspect(io.BytesIO(archive), 10 * SIZE).bytes,
        )

    return [upload(number) for number in range(4)]


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache"


def there(folder, upload):
    return (root_of(folder, upload) / upload.name / "data.txt").is_file()


def run(cache, storage, upload):
    """An attempt that uses a dataset."""
    with cache.use(upload):
        fetch(storage, upload, cache.folder)


def test_datasets_stay_while_there_is_room(folder, storage, uploads):
    cache = Cache(folder, 6 * SIZE)
    for upload in uploads:
        run(cache, storage, upload)
    assert all(there(folder, upload) for upload in uploads)


def test_the_least_recently_used_makes_room(folder, storage, uploads):
    cache = Cache(folder, 4 * SIZE)  # one that is fetched takes its archive's size as well
    for at, upload in enumerate(uploads[:2]):
        run(cache, storage, upload)
        os.utime(root_of(folder, upload), (at, at))
    run(cache, storage, uploads[0])  # it is the youngest now
    run(cache, storage, uploads[2])
    assert [there(folder, upload) for upload in uploads[:3]] == [True, False, True]


def test_what_is_used_stays_whatever_the_limit(folder, storage, uploads):
    cache = Cache(folder, 0)
    with cache.use(uploads[0]):
        fetch(storage, uploads[0], folder)
        run(Cache(folder, 0), storage, uploads[1])
        run(Cache(folder, 0), storage, uploads[2])
        assert there(folder, uploads[0])
        assert not there(folder, uploads[1])
    with cache.use(None):
        assert not any(there(folder, upload) for upload in uploads)


HOLD = """
import sys
from pathlib import Path
from cpt_core.uploads import Upload
from worker.cache import Cache
with Cache(Path(sys.argv[1]), 0).use(Upload.model_validate_json(sys.argv[2])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_another_worker_keeps_what_it_uses_until_it_dies(folder, storage, uploads):
    run(Cache(folder, 10 * SIZE), storage, uploads[0])
    arguments = [sys.executable, "-c", HOLD, folder, uploads[0].model_dump_json()]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"held\n"
        with Cache(folder, 0).use(None):
            assert there(folder, uploads[0])
        other.kill()
    with Cache(folder, 0).use(None):
        assert not there(folder, uploads[0])


def test_files_that_were_worked_out_count_and_go_too(folder, storage, uploads):
    run(Cache(folder, 10 * SIZE), storage, uploads[0])
    words = folder / "text-0.safetensors"
    words.write_bytes(bytes(SIZE))
    os.utime(words, (1, 1))
    with Cache(folder, SIZE + 1000).use(None):
        assert there(folder, uploads[0])
        assert not words.exists()


def test_a_dataset_in_use_is_whole_however_many_come_and_go(folder, storage, uploads):
    def work(seed):
        chance, cache = random.Random(seed), Cache(folder, 2 * SIZE)
        for _ in range(15):
            upload = chance.choice(uploads)
            with cache.use(upload):
                fetch(storage, upload, folder)
                for _ in range(5):
                    assert there(folder, upload)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    with Cache(folder, 2 * SIZE).use(None):
        assert sum(there(folder, upload) for upload in uploads) <= 2
    assert not list(folder.glob(".doomed-*"))
