"""One rig for the slice of the matrix that `make test` runs."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.rig import Rig
from tests.chaos.run import Reference


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def rig(request: pytest.FixtureRequest) -> Iterator[tuple[Rig, Reference]]:
    """Everything up, on each database, and what undisturbed runs come to."""
    # Not in pytest's folder, into which each run of pytest lets root alone: PostgreSQL is another user.
    home = Path(tempfile.mkdtemp(prefix="cpt-chaos-"))
    home.chmod(0o755)
    found = Rig(home / request.param, request.param)
    try:
        found.start_all()
        yield found, Reference(found)
    finally:
        found.close()
        shutil.rmtree(home, ignore_errors=True)
