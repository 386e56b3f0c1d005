"""docs/benchmarks.md: what its tables say is what the commands printed, and the commands measure real trainings."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

import core  # noqa: E402  # a script, not a package
import kept  # noqa: E402

from cpt_core.bench.forms import FORMS  # noqa: E402
from cpt_core.bench.workloads import WORKLOADS  # noqa: E402


def printed(script: str, *options: str) -> dict:
    command = [sys.executable, str(ROOT / "benchmarks" / script), *options]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)


@pytest.mark.parametrize("table", core.TABLES, ids=lambda table: table.name)
def test_a_table_is_what_the_kept_output_says(table):
    assert f"<!-- {table.name} -->\n\n{core.section(table)}\n\n<!-- /{table.name} -->" in core.PAGE.read_text()


def test_every_workload_and_every_form_has_a_table():
    commands = [table.command for table in core.TABLES]
    assert all(any(workload in command for command in commands) for workload in WORKLOADS)
    # "fp8" is for GPUs, where `make gpu-check` times it.
    asked_for = [name for name, form in FORMS.items() if not form.by_default and name != "fp8"]
    assert all(any(name in command for command in commands) for name in asked_for)


def test_what_surrounds_a_step_is_timed_in_a_real_training_and_shared_out_by_the_recipes_own_intervals():
    output = printed(
        "surroundings.py",
        *("--recipe", "fashion-mnist/resnet8-cpt-3-8", "--steps", "9", "--train", "64", "--test", "9"),
    )
    assert output["step_seconds"] > 0
    assert {name: part["every"] for name, part in output["parts"].items()} == {
        "grey images": 1,
        "colour images": 1,
        "logging": 1,
        "evaluation": 704,
        "checkpoint": 704,  # fashion-mnist/resnet8-cpt-3-8.yaml
    }
    shown = core.surroundings(output)
    assert all(f"{part['seconds']:.4f}" in shown for part in output["parts"].values())


@pytest.mark.skipif(sys.platform != "linux" or len(os.sched_getaffinity(0)) < 2, reason="needs two cores on Linux")
def test_two_ranks_train_on_two_cores_beside_one_on_one_and_two_apart():
    output = printed("scaling.py", *("--recipe", "fashion-mnist/resnet8-static-8", "--steps", "2", "--rounds", "1"))
    (one,), (two,), (apart,) = (output["samples_per_second"][kind] for kind in ("one", "two", "apart"))
    assert output["efficiency"] == pytest.approx(two / (2 * one))
    assert output["efficiency_apart"] == pytest.approx(apart / (2 * one))
    assert f"**{output['efficiency']:.2f}**" in core.scaling(output)


def test_a_command_is_kept_with_its_output_and_date(tmp_path):
    job = kept.Kept(("python", "-c", "print('[1, 2]')"), tmp_path / "kept" / "one.json")
    assert not job.here
    job.run()
    assert job.here
    assert job.record["output"] == [1, 2]
    assert job.record["command"] == """python -c 'print('"'"'[1, 2]'"'"')'"""


def test_a_command_that_fails_keeps_nothing(tmp_path):
    job = kept.Kept(("python", "-c", "raise SystemExit(1)"), tmp_path / "one.json")
    with pytest.raises(subprocess.CalledProcessError):
        job.run()
    assert not job.here


def test_parts_go_between_their_markers_and_nothing_else_changes(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- a -->old<!-- /a -->\nafter\n")
    kept.fill(page, {"a": "new"})
    kept.fill(page, {"a": "newer"})
    assert page.read_text() == "before\n<!-- a -->\n\nnewer\n\n<!-- /a -->\nafter\n"


def test_a_page_without_the_marker_is_an_error_and_stays_as_it_is(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("nothing here\n")
    with pytest.raises(ValueError, match=r"page\.md does not have <!-- a -->"):
        kept.fill(page, {"a": "new"})
    assert page.read_text() == "nothing here\n"
