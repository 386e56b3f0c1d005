"""`make gpu-check` on a machine without a GPU: what it refuses, and what it checks in the interpreter."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu_check.py"


def gpu_check(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(SCRIPT), *options], capture_output=True, text=True, check=False)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_what_it_needs_and_ends_with_3():
    run = gpu_check()
    assert run.returncode == 3
    assert run.stdout == ""
    assert "needs an NVIDIA GPU of compute capability 8.0 or more" in run.stderr


def test_its_checks_of_numbers_pass_in_the_interpreter():
    pytest.importorskip("triton", reason="there is no triton for this machine")
    run = gpu_check("--device", "cpu")
    assert run.returncode == 0, run.stdout + run.stderr
    report = json.loads(run.stdout)
    assert report["device"] == "cpu, interpreted: nothing was timed"
    assert all(check["passed"] for check in report["checks"])
    # Three functions of three shapes at 15 widths, four results of four products at 7, and one in FP8.
    assert len(report["checks"]) == 3 * 3 * 15 + (4 * 4 + 1) * 7
