"""`cpt plan`: a training on one screen before it runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cpt_client.cli import exits
from cpt_client.cli.app import app
from cpt_client.view.chart import bits_chart
from cpt_core.plan import Plan, plan
from cpt_core.spec import load

RECIPE = Path(__file__).parents[2] / "recipes" / "digits" / "resnet8-cpt-3-8.yaml"


def test_a_plan_draws_the_schedule_and_compares_cost_and_energy() -> None:
    output = CliRunner().invoke(app, ["plan", str(RECIPE)]).output
    assert " 8        " in output
    assert "backward (errors): 8 bits in every step" in output
    assert "256 steps" in output
    assert "78,074 parameters, 12,501,632 MACs a sample" in output
    assert "37.6 % less than static 8-bit" in output
    assert "J modelled" in output


def test_a_plan_in_json_is_the_plan() -> None:
    answer = CliRunner().invoke(app, ["plan", str(RECIPE), "--json"])
    assert Plan.model_validate(json.loads(answer.output)) == plan(load(RECIPE), Path())


def test_a_plan_of_data_that_is_not_there_says_so(tmp_path: Path) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text(RECIPE.read_text().replace("name: digits", "name: idx\n  path: nowhere"))
    answer = CliRunner().invoke(app, ["plan", str(spec), "--data-root", str(tmp_path)])
    assert answer.exit_code == exits.USAGE
    assert "nowhere" in answer.output


@pytest.mark.parametrize(
    ("bits", "lines"),
    [
        ([3, 3, 8, 8], [" 8   ██", " 3 ██  "]),
        # Eight steps in four columns: half a column each, then one step in two of 32 bits.
        ([4, 8, 4, 4, 8, 8, 4, 32], ["32    ▒", " 8 ▒ █ ", " 4 ▒█ ▒"]),
    ],
)
def test_a_chart_shades_each_width_by_its_share_of_the_steps(bits: list[int], lines: list[str]) -> None:
    assert bits_chart(bits, 4) == lines


def test_a_chart_shows_what_occurs_once_in_a_thousand_steps() -> None:
    assert bits_chart([8] * 999 + [3], 1) == [" 8 █", " 3 ░"]
