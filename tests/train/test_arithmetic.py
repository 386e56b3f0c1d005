"""How a GPU computes, as far as it shows without one: the switches that training sets."""

import os
import subprocess
import sys

import pytest
import torch

from cpt_core.lifecycle import Reason
from cpt_core.train.failure import describe

ASK = """
import os, torch
from cpt_core.train.ranks import settle_arithmetic
settle_arithmetic(tf32={tf32}, deterministic={deterministic})
cuda, cudnn = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
print(cuda, cudnn, torch.are_deterministic_algorithms_enabled(), os.environ.get("CUBLAS_WORKSPACE_CONFIG"))
"""


@pytest.mark.parametrize(
    ("tf32", "deterministic", "expected"),
    [
        (False, True, "False False True :4096:8"),
        (True, True, "True True True :4096:8"),
        (False, False, "False False False None"),
    ],
)
def test_products_and_convolutions_are_in_float32_and_deterministic_unless_told(tf32, deterministic, expected):
    environment = {name: value for name, value in os.environ.items() if name != "CUBLAS_WORKSPACE_CONFIG"}
    command = [sys.executable, "-c", ASK.format(tf32=tf32, deterministic=deterministic)]
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert said.split() == expected.split()


def test_a_gpu_out_of_memory_ends_the_run_with_reason_oom_and_advice():
    end = describe(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."))
    assert end.reason == Reason.OOM
    assert "lower training.batch_size" in end.message
    assert "2.00 GiB" in end.message
