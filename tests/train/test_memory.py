"""Memory that a step frees serves the next one."""

import platform
import subprocess
import sys

import pytest

STEPS = """
import resource
import torch
from cpt_core.train.memory import keep_freed_memory

keep_freed_memory()
for _ in range(30):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones({elements}).add(1)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
@pytest.mark.parametrize("mebibytes", [8, 128])
def test_blocks_of_any_size_are_allocated_again_without_a_page_fault(mebibytes):
    script = STEPS.format(elements=mebibytes * 2**18)
    done = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, check=True, text=True)
    faults = [int(line) for line in done.stdout.split()]
    # The first blocks are new, and the next few may be, until there is one of each alignment.
    assert faults[0] > faults[-1]
    assert max(faults[-10:]) < 10
