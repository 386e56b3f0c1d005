"""`cpt bench`: what it refuses before it measures anything."""

from __future__ import annotations

import pytest
import torch
from typer.testing import CliRunner, Result

from cpt_client.cli import exits
from cpt_client.cli.app import app


def bench(*options: str) -> Result:
    return CliRunner().invoke(app, ["bench", *options])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_the_device_is_refused_before_all_else() -> None:
    answer = bench("nothing", "--device", "cuda", "--form", "tf32")
    assert answer.exit_code == exits.USAGE
    assert "torch finds no GPU here" in answer.output
    assert "without --device the CPU is timed" in answer.output


@pytest.mark.parametrize("form", ["tf32", "fp16"])
def test_a_form_that_the_device_has_not_is_refused_and_those_it_has_are_named(form: str) -> None:
    answer = bench("resnet38", "--form", form)
    assert answer.exit_code == exits.USAGE
    assert f"there is no form '{form}' here: use one of fp32, " in answer.output
    assert "int8, 3 bits forward" in answer.output
    assert "GMAC/s" not in answer.output  # nothing was measured


def test_a_workload_that_there_is_not_is_refused_and_those_there_are_are_named() -> None:
    answer = bench("resnet1")
    assert answer.exit_code == exits.USAGE
    assert "there is no workload 'resnet1' here: use one of resnet38, resnet74" in answer.output


def test_another_kind_of_device_is_refused() -> None:
    answer = bench("--device", "tpu")
    assert answer.exit_code == exits.USAGE
    assert "'tpu'" in answer.output
