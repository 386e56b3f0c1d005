"""One rig for the slice of the matrix that `make test` runs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.chaos.rig import Rig
from tests.chaos.run import Reference


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def rig(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Rig, Reference]]:
    """Everything up, on each database, and what undisturbed runs come to."""
    home = tmp_path_factory.mktemp("chaos")
    home.chmod(0o755)
    found = Rig(home / request.param, request.param)
    try:
        found.start_all()
        yield found, Reference(found)
    finally:
        found.close()
