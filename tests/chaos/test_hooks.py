"""The hooks that hold processes belong to the tests alone; what production starts cannot have them."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.chaos import faults
from tests.chaos.matrix import MOMENTS, ROWS, cells
from tests.chaos.rig import MOMENTS as HOOKS

ROOT = Path(__file__).parents[2]
PACKAGES = ("api", "worker", "cpt_core", "cpt_client", "migrations")
PROBE = """
import sys, api.broker, worker.attempt, cpt_core.storage.local, cpt_core.process, api.jobs.ledger
patched = [f.__module__ for f in (api.broker.Bells.ring, worker.attempt.Attempt._start,
           cpt_core.storage.local.LocalStorage.put_folder, cpt_core.process.die_with_parent, api.jobs.ledger.is_stale)]
print(*patched, sep="\\n")
"""
REAL = ["api.broker", "worker.attempt", "cpt_core.storage.local", "cpt_core.process", "api.jobs.ledger"]


def modules(**environment: str) -> list[str]:
    """Where the functions come from that hooks would have replaced."""
    found = subprocess.run(
        [sys.executable, "-c", PROBE],
        env=os.environ | environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return found.stdout.split()


def test_the_variables_alone_do_nothing(tmp_path: Path) -> None:
    variables = {"CHAOS_MOMENTS": str(tmp_path), "CHAOS_WITHOUT": "fence,order,deduplication,pdeathsig,hash"}
    assert modules(**variables) == REAL


def test_the_folder_of_hooks_on_the_path_does(tmp_path: Path) -> None:
    variables = {"CHAOS_MOMENTS": str(tmp_path), "CHAOS_WITHOUT": "fence,pdeathsig", "PYTHONPATH": str(HOOKS)}
    assert modules(**variables) == ["sitecustomize"] * 5


@pytest.mark.parametrize("package", PACKAGES)
def test_no_source_knows_of_hooks(package: str) -> None:
    words = ("chaos", "sitecustomize")
    assert [
        str(path)
        for path in (ROOT / package).rglob("*.py")
        if any(word in path.read_text(encoding="utf-8").lower() for word in words)
    ] == []


def test_no_package_and_no_image_carries_them() -> None:
    found = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]
    assert not [name for name in found["include"] if name.startswith(("tests", "*"))]
    copied = [line for file in (ROOT / "docker").glob("*Dockerfile") for line in file.read_text().splitlines()]
    assert not [line for line in copied if line.startswith(("COPY", "ADD")) and ("tests" in line or " . " in line)]


def test_every_fault_of_the_matrix_can_be_done() -> None:
    for row in ROWS:
        assert callable(faults.of(row.fault))
        assert set(row.moments) <= MOMENTS.keys()
    names = [cell.name for cell in cells()]
    assert len(names) == len(set(names))
