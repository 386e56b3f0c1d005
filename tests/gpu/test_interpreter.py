"""Without a GPU, the tests of the kernels run in Triton's interpreter, which is chosen before Triton is loaded."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

KERNELS = Path(__file__).with_name("test_kernels.py")


@pytest.mark.skipif(torch.cuda.is_available(), reason="they run on the GPU itself")
@pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="they run in this very process")
def test_the_kernels_pass_their_tests_in_the_interpreter():
    pytest.importorskip("triton", reason="there is no triton for this machine")
    run = subprocess.run(
        [sys.executable, "-m", "pytest", str(KERNELS), "-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist"],
        env=os.environ | {"TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
