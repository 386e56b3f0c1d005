"""A whole stack for each test, and the results of an undisturbed run to compare with."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from safetensors.numpy import load_file

from tests.e2e.stack import SHORT_LEASE_SECONDS, Stack, spec


@contextmanager
def opened(home: Path, database_url: str, **options: float) -> Iterator[Stack]:
    """A stack with everything up."""
    stack = Stack(home, database_url, **options)
    try:
        stack.start_all()
        yield stack
    finally:
        stack.close()


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """Everything up, on SQLite."""
    with opened(tmp_path, f"sqlite:///{tmp_path}/cpt.db") as stack:
        yield stack


@pytest.fixture
def short_lease_stack(tmp_path: Path) -> Iterator[Stack]:
    """The same, where a silent worker loses its job soon."""
    with opened(tmp_path, f"sqlite:///{tmp_path}/cpt.db", lease_seconds=SHORT_LEASE_SECONDS) as stack:
        yield stack


@pytest.fixture
def stack_on(tmp_path: Path, empty_database_url: str) -> Iterator[Stack]:
    """Everything up, once on SQLite and once on PostgreSQL."""
    with opened(tmp_path, empty_database_url) as stack:
        yield stack


@pytest.fixture(scope="session")
def undisturbed(shared_tmp: Path) -> Path:
    """Folder of the final checkpoint of `spec()` trained without any service and without any fault, once a test run."""
    from cpt_core.spec import JobSpec
    from cpt_core.train.local import train

    home = shared_tmp / "undisturbed"
    with FileLock(shared_tmp / "undisturbed.lock"):
        if not (home / "path").exists():
            home.mkdir(exist_ok=True)
            events = home / "events.jsonl"
            found = JobSpec.model_validate(spec())
            assert train(found, events=events, storage=home / "storage", data_root=home) == 0
            finished = json.loads(events.read_text().splitlines()[-1])
            (home / "path").write_text(finished["result"]["checkpoint"])
    return home / "storage" / (home / "path").read_text()


@pytest.fixture
def assert_same_weights(undisturbed: Path) -> Callable[[Stack, dict[str, Any]], None]:
    """Fails unless a job's final weights equal the undisturbed run's, bit for bit."""

    def compare(stack: Stack, job: dict[str, Any]) -> None:
        expected = load_file(undisturbed / "model.safetensors")
        found = load_file(stack.storage / job["result"]["checkpoint"] / "model.safetensors")
        assert found.keys() == expected.keys()
        different = [name for name in expected if found[name].tobytes() != expected[name].tobytes()]
        assert not different

    return compare
