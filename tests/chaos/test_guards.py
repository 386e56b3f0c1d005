"""The guard against orphans, in real processes: without it the check finds one."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from pathlib import Path

import psutil
import pytest

from tests.chaos import checks
from tests.chaos.rig import MOMENTS
from tests.e2e.stack import attempt_processes, until

CHILD = """
import os, sys, time
from cpt_core.process import die_with_parent
die_with_parent(int(sys.argv[1]))
print("ready", flush=True)
time.sleep(60)
"""
PARENT = "import os, subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1], str(os.getpid())])"


@pytest.mark.parametrize("without", ["", "pdeathsig"])
def test_a_process_outlives_its_parent_only_without_the_guard(tmp_path: Path, without: str) -> None:
    mark = f"job_{uuid.uuid4().hex}"
    environment = {"PYTHONPATH": str(MOMENTS), "CHAOS_MOMENTS": str(tmp_path), "CHAOS_WITHOUT": without}
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, CHILD],
        env=os.environ | environment | {"CPT_ATTEMPT": f"{mark}-1"},
        stdout=subprocess.PIPE,
    )
    assert parent.stdout is not None
    with parent.stdout:
        assert parent.stdout.readline() == b"ready\n"
        parent.kill()
        parent.wait()
        try:
            if without:
                assert checks.orphans(attempt_processes(mark))
            else:
                until(lambda: not checks.orphans(attempt_processes(mark)), "the child to die", 5)
        finally:
            left = attempt_processes(mark)
            for process in left:
                process.kill()
            psutil.wait_procs(left, 5)
