"""Processes that die with their parent."""

import subprocess
import sys

import psutil
import pytest

CHILD = "from cpt_core.process import die_with_parent; die_with_parent({parent}); print('up', flush=True); input()"
PARENT = f"""
import os, subprocess, sys
code = {CHILD!r}.format(parent=os.getpid())
child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
input()
"""

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="the kernel of Linux does it")


@linux_only
def test_a_process_dies_when_its_parent_is_killed():
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    child = psutil.Process(int(parent.stdout.readline()))
    assert child.is_running()
    parent.kill()
    parent.wait()
    # The child is not ours to reap: whoever adopted it may leave it a zombie.
    psutil.wait_procs([child], timeout=10)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


@linux_only
def test_a_process_whose_parent_is_gone_already_does_not_begin():
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    child = subprocess.run([sys.executable, "-c", CHILD.format(parent=gone.pid)], capture_output=True, check=False)
    assert child.returncode == -9
    assert child.stdout == b""
