"""A short slice of the matrix of `make chaos`: a run of some cells, on each database, with the global criteria."""

from __future__ import annotations

import pytest

from tests.chaos import faults
from tests.chaos.matrix import ROWS, Cell
from tests.chaos.rig import Rig
from tests.chaos.run import Reference, Run

SLICE = (
    ("tree_killed", "M3"),
    ("worker_killed", "M5"),
    ("sigterm", "M3"),
    ("out_of_memory", "M3"),
    ("redis_flushed", "M1"),
    ("api_half_open", "M5"),
    ("api_killed", "M0"),
    ("database_killed", "M5"),
    ("checkpoint_flipped", "resume"),
    ("cancel", "M4"),
    ("poison", "M3"),
    ("appends_forged", "M3"),
)
"""One worker dies at a time, so most need no new one: loading torch is what takes long."""


@pytest.mark.parametrize(("fault", "moment"), SLICE, ids=lambda value: value)
def test_a_cell_of_the_matrix(rig: tuple[Rig, Reference], fault: str, moment: str) -> None:
    stack, reference = rig
    (row,) = [row for row in ROWS if row.fault == fault]
    stack.repair()
    run = Run(stack, reference, Cell(row, moment, stack.database), 0)
    faults.of(fault)(run)
    stack.repair()
    assert run.verify() == []
