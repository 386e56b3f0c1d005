"""`cpt train --seeds`: one spec trained with several seeds, for real, and what is reported of them."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from rich.console import Console
from typer.testing import CliRunner

from cpt_client.cli import exits
from cpt_client.cli.app import app
from cpt_client.view.seeds import seeds_view
from cpt_core.events import Finished, Result
from cpt_core.seeds import Report, SeedRun
from tests.client.conftest import wait_for

RECIPE = Path(__file__).parents[2] / "recipes" / "digits" / "resnet8-cpt-3-8.yaml"


@pytest.fixture
def recipe(tmp_path: Path) -> Callable[[int], Path]:
    """The recipe, cut to some steps and one process, in a file."""

    def cut(steps: int) -> Path:
        document = yaml.safe_load(RECIPE.read_text())
        document["training"] |= {"steps": steps, "batch_size": 16}
        document["precision"]["cycles"] = 2
        document["resources"]["devices"] = 1
        path = tmp_path / "spec.yaml"
        path.write_text(yaml.safe_dump(document))
        return path

    return cut


def start(recipe: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "cpt_client", "train", str(recipe), *arguments]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=recipe.parent, env=env, stdout=pipe, stderr=pipe, text=True)


def refusal(*arguments: str) -> str:
    answer = CliRunner().invoke(app, ["train", str(RECIPE), *arguments])
    assert answer.exit_code == exits.USAGE
    return answer.stderr


def test_each_seed_is_trained_and_all_are_summarised(recipe: Callable[[int], Path], tmp_path: Path) -> None:
    running = start(recipe(4), "--seeds", "3,1", "--json", "--events", "run-{seed}.jsonl")
    output, shown = running.communicate(timeout=200)
    assert running.returncode == exits.OK, shown
    report = Report.model_validate_json(output)
    assert [run.seed for run in report.runs] == [3, 1]
    results = [run.end.result for run in report.runs if run.end.result is not None]
    assert results[0].loss != results[1].loss
    assert report.summary is not None
    assert report.summary.loss is not None
    assert report.summary.loss.mean == statistics.fmean(result.loss or 0.0 for result in results)
    assert "seed 1, 2 of 2" in shown
    for run in report.runs:
        last = (tmp_path / f"run-{run.seed}.jsonl").read_text().splitlines()[-1]
        assert Finished.model_validate_json(last) == run.end


def interrupt(command: subprocess.Popen[str]) -> None:
    command.send_signal(signal.SIGINT)


def kill_the_rank(command: subprocess.Popen[str]) -> None:
    (launcher,) = psutil.Process(command.pid).children()
    (rank,) = launcher.children()
    rank.kill()


@pytest.mark.parametrize(
    ("happening", "code", "outcome"),
    [(interrupt, exits.INTERRUPTED, "preempted"), (kill_the_rank, exits.FAILED, "failed")],
)
def test_what_was_done_is_reported_when_a_seed_does_not_come_to_its_end(
    recipe: Callable[[int], Path],
    tmp_path: Path,
    happening: Callable[[subprocess.Popen[str]], None],
    code: int,
    outcome: str,
) -> None:
    spec = recipe(60)
    running = start(spec, "--seeds", "0,1,2", "--events", "run-{seed}.jsonl")
    second = tmp_path / "run-1.jsonl"
    try:
        wait_for(lambda: second.exists() and '"step"' in second.read_text(), "the second seed trains", 200)
        happening(running)
        output, errors = running.communicate(timeout=200)
    finally:
        running.kill()
    assert running.returncode == code, errors
    table = output[output.index("over 3 seeds") :]
    assert re.search(r"^0 +8 bits +\d+\.\d\d", table, re.MULTILINE)
    assert re.search(rf"^1 +{outcome}: ", table, re.MULTILINE)
    assert re.search(r"^2 +not started", table, re.MULTILINE)
    assert f"cpt train {spec} --seeds 2`" in errors
    assert (f"cpt train {spec} --seeds 1 --resume " in errors) == (outcome == "preempted")
    assert not (tmp_path / "run-2.jsonl").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--seeds", "0,x"], "not a list of numbers"),
        (["--seeds", "1,2,1"], "stands there twice"),
        (["--seeds", "4294967296"], "4294967295"),
        (["--seeds", "1,2", "--resume", "somewhere"], "--resume continues one run"),
        (["--seeds", "1,2", "--events", "all.jsonl"], "events-{seed}.jsonl"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_starts(arguments: list[str], said: str) -> None:
    assert said in refusal(*arguments)


def ended(seed: int, **changes: Any) -> SeedRun:
    figures = {
        "accuracy": 0.9, "loss": 0.5, "bits": 8, "steps": 10, "samples": 320, "gbitops": 1234.5, "gbitops_static": 2e3,
        "gbitops_fp32": 3e4, "modelled_joules": 0.25, "samples_per_second": 100.0,
    }  # fmt: skip
    result = Result.model_validate(figures | changes)
    return SeedRun(
        seed=seed, checkpoint="x", end=Finished(outcome="succeeded", reason="completed", message="", result=result)
    )


def drawn(report: Report) -> str:
    console = Console(file=io.StringIO(), width=100, record=True)
    console.print(seeds_view(report))
    return console.export_text()


def test_mean_and_deviation_stand_below_the_seeds() -> None:
    shown = drawn(Report.of("digits", [ended(0), ended(1, accuracy=0.92)], not_started=[]))
    assert "digits over 2 seeds" in shown
    assert re.search(r"^mean +8 bits +91\.00 ± 1\.41 +0\.5000 ± 0\.0000 +1,234 ± 0 +0\.25 ± 0", shown, re.MULTILINE)
    assert "sample standard deviation over 2 seeds" in shown


def test_language_models_have_their_perplexity_there() -> None:
    runs = [ended(seed, accuracy=None, perplexity=perplexity) for seed, perplexity in enumerate((96.0, 98.0))]
    shown = drawn(Report.of("PTB", runs, not_started=[]))
    assert "97.00 ± 1.41" in shown
    assert "accuracy" not in shown


def test_figures_at_different_bits_are_averaged_without_naming_one_of_them() -> None:
    shown = drawn(Report.of("auto", [ended(0, bits=5), ended(1, bits=6)], not_started=[]))
    assert re.search(r"^0 +5 bits", shown, re.MULTILINE)
    assert re.search(r"^mean +90\.00", shown, re.MULTILINE)


def test_a_report_is_json_for_scripts() -> None:
    report = Report.of("digits", [ended(0)], not_started=[])
    assert json.loads(report.model_dump_json())["summary"]["accuracy"] == {"mean": 0.9, "deviation": None}
