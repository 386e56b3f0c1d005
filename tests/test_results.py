"""docs/results.md: what its tables say is what the trainings printed, and their recipes are those that are here."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

import results  # noqa: E402  # a script, not a package

from cpt_core.spec import load  # noqa: E402


@pytest.mark.parametrize("subject", results.SUBJECTS, ids=lambda subject: subject.marker)
def test_a_table_is_what_the_kept_output_says(subject):
    assert results.table_of(subject) in results.PAGE.read_text()


@pytest.mark.parametrize("subject", results.SUBJECTS, ids=lambda subject: subject.marker)
def test_rows_of_a_table_differ_in_precision_alone(subject):
    first, *others = [
        load(ROOT / "recipes" / f"{row.recipe}.yaml").model_dump(exclude={"name", "precision"}) for row in subject.rows
    ]
    assert all(other == first for other in others)
