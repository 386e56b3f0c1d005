"""`cpt landscape`: checkpoints in, a picture, its data and a sharpness out."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from cpt_client.cli import exits
from cpt_client.cli.app import app
from cpt_core.landscape import Landscape
from tests.core.checkpoints import train_tiny

SMALL = ["--grid", "3", "--samples", "8"]


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    storage = tmp_path_factory.mktemp("storage")
    static = {"schedule": "static", "bits": 6, "gradient_bits": 8}
    trained = [train_tiny(storage, "cpt"), train_tiny(storage, "static", precision=static)]
    return [str(folder) for folder, _ in trained]


def landscape(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["landscape", *arguments, *SMALL])


def test_checkpoints_side_by_side_give_a_picture_and_its_data(checkpoints: list[str], tmp_path: Path) -> None:
    output = tmp_path / "new" / "wide.png"
    answer = landscape(*checkpoints, "--output", str(output), "--seed", "3")
    assert answer.exit_code == 0, answer.output
    assert output.read_bytes().startswith(b"\x89PNG")
    data = Landscape.model_validate_json(output.with_suffix(".json").read_text())
    assert [(surface.name, surface.bits) for surface in data.surfaces] == [("cpt", 8), ("static", 6)]
    assert (data.seed, data.coordinates) == (3, [-1.0, 0.0, 1.0])
    for surface in data.surfaces:
        assert f"{surface.sharpness.mean:.4g} ±" in answer.stdout
    assert str(output) in answer.stdout


def test_as_json_it_prints_the_data_that_it_writes(checkpoints: list[str], tmp_path: Path) -> None:
    output = tmp_path / "one.png"
    answer = landscape(checkpoints[0], "--output", str(output), "--bits", "32", "--json")
    assert answer.stdout == output.with_suffix(".json").read_text()
    assert json.loads(answer.stdout)["surfaces"][0]["bits"] == 32


def test_a_folder_that_is_no_checkpoint_is_wrong_usage(tmp_path: Path) -> None:
    answer = landscape(str(tmp_path), "--output", str(tmp_path / "a.png"))
    assert answer.exit_code == exits.USAGE
    assert "is no checkpoint" in answer.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_checkpoint_is_named(checkpoints: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "step-00000002"
    folder.mkdir()
    for file in Path(checkpoints[0]).iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "model.safetensors").write_bytes(b"\0" * 100)
    answer = landscape(str(folder), "--output", str(tmp_path / "a.png"))
    assert answer.exit_code == exits.USAGE
    assert "model.safetensors is damaged" in answer.stderr


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--output", "a.jpg"], ".png"),
        (["--grid", "4"], "centre"),
        (["--radius", "0"], "radius"),
        (["--rho", "0"], "rho"),
    ],
)
def test_an_option_that_makes_no_sense_is_wrong_usage(
    checkpoints: list[str], arguments: list[str], named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    answer = CliRunner().invoke(app, ["landscape", checkpoints[0], *SMALL, *arguments])
    assert answer.exit_code == exits.USAGE
    assert named in answer.stderr


def test_without_matplotlib_the_data_are_written_and_the_extra_is_named(checkpoints: list[str], tmp_path: Path) -> None:
    output = tmp_path / "none.png"
    code = f"""
import sys
from cpt_client.cli import main

sys.modules["matplotlib"] = None  # as if it were not installed
sys.argv = ["cpt", "landscape", {checkpoints[0]!r}, "--output", {str(output)!r}, *{SMALL!r}]
main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "pip install 'cpt-service[plot]'" in done.stdout
    assert "pip install 'cpt-service[plot]'" in done.stderr
    Landscape.model_validate_json(output.with_suffix(".json").read_text())
    assert not output.exists()
