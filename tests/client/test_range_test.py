"""`cpt range-test`: the bounds of a spec, found by training a little at each bit width."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from cpt_client.cli import exits
from cpt_client.cli.range_test import only_the_test
from cpt_client.models import Event
from cpt_client.view.presenter import notable
from cpt_core.events import RangeTest
from cpt_core.range_test import find_bounds
from cpt_core.spec import AutoPrecision, JobSpec

DOCUMENT = {
    "model": {"name": "resnet8"},
    "dataset": {"name": "digits"},
    "precision": {"schedule": "auto", "min_bits": 7, "steps_per_bits": 40, "window": 10, "cycles": 4},
    "training": {"steps": 500, "batch_size": 32},
    "evaluation": {"batch_size": 360},
}


def run(folder: Path, *arguments: str, **changes: Any) -> subprocess.CompletedProcess[str]:
    spec = folder / "spec.yaml"
    spec.write_text(yaml.safe_dump(DOCUMENT | changes))
    command = [sys.executable, "-m", "cpt_client", "range-test", str(spec), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=200, check=False)


def test_the_curve_and_the_bounds_are_printed_and_nothing_is_left_behind(tmp_path: Path) -> None:
    done = run(tmp_path, "--json")
    assert done.returncode == exits.OK, done.stderr
    outcome = RangeTest.model_validate(json.loads(done.stdout))
    assert [point.bits for point in outcome.curve] == [7, 8]
    assert outcome.step == 80
    assert outcome.bounds == find_bounds(outcome.curve, threshold=0.9, tolerance=0.02)
    assert [path.name for path in tmp_path.iterdir()] == ["spec.yaml"]


def test_where_nothing_learns_the_command_fails_and_says_what_to_change(tmp_path: Path) -> None:
    done = run(tmp_path, optimizer={"name": "sgd", "lr": 1e-9, "momentum": 0.0}, training={"steps": 500})
    assert done.returncode == exits.FAILED
    assert "score first" in done.stdout
    assert "raise precision.steps_per_bits" in done.stderr


def test_another_schedule_keeps_its_quantiser_and_highest_gradient_bits() -> None:
    gradient = {"schedule": "cosine", "min_bits": 4, "max_bits": 6}
    precision = {"schedule": "cosine", "quantizer": "dorefa", "gradient_bits": gradient}
    trained = JobSpec.model_validate(DOCUMENT | {"precision": precision})
    spec = only_the_test(trained)
    assert spec.precision == AutoPrecision(schedule="auto", quantizer="dorefa", gradient_bits=6)
    assert (spec.steps, spec.training) == (7 * 200, trained.training)


def test_a_training_shorter_than_one_width_of_the_test_is_refused_by_field(tmp_path: Path) -> None:
    done = run(tmp_path, precision={"schedule": "static"}, training={"steps": 100})
    assert done.returncode == exits.USAGE
    assert "/precision/steps_per_bits: no width can be tried for longer than training.steps (100)" in done.stderr


def test_whoever_watches_sees_what_the_test_found() -> None:
    event = {"id": 1, "type": "range_test", "step": 16, "bounds": {"min_bits": 3, "max_bits": 5}}
    assert str(notable(Event.model_validate(event))) == "precision range test: 3 to 5 bits"
    assert str(notable(Event.model_validate(event | {"bounds": None}))).endswith("no bit width learns")
