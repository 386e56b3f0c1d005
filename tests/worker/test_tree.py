import os
import select
import signal
import subprocess
import sys
import uuid

import psutil
import pytest

from cpt_core.process import MARK
from worker.launchers import Spawned
from worker.tree import Tree, is_gone, members

from .waiting import until

MARKED = f"test-{uuid.uuid4().hex}"
"""Other runs of these tests on this machine have marks of their own."""

FAMILY = """
import os, subprocess, sys, time
subprocess.Popen(["sleep", "600"])
subprocess.Popen(["sleep", "601"], start_new_session=True)
subprocess.Popen(["sleep", "602"], env={}, process_group=os.getpgrp())
subprocess.Popen(["sh", "-c", "sleep 603; true"], start_new_session=True)
"""
"""Children in the parent's group, in a session of their own, and with no environment."""


@pytest.fixture
def start(tmp_path):
    trees = []

    def start(code, mark=MARKED):
        command, environment = [sys.executable, "-c", code], os.environ | {MARK: mark}
        tree = Tree(Spawned(command, environment=environment, folder=tmp_path, output=tmp_path / "log"), mark)
        trees.append(tree)
        return tree

    yield start
    for tree in trees:
        while not tree.gone:
            tree.kill()
        tree.reap()
        tree.close()


def test_every_descendant_is_found_and_killed_wherever_it_went(start):
    tree = start(FAMILY + "time.sleep(600)")
    until(lambda: len(members(MARKED, tree._launcher.pid)) == 6)
    assert not tree.gone
    tree.kill()
    until(lambda: tree.gone)
    assert tree.reap() == -signal.SIGKILL


def test_a_tree_whose_launcher_has_ended_is_not_gone_while_a_descendant_lives(start):
    tree = start(FAMILY)
    until(lambda: tree.launcher_ended)
    assert not tree.gone
    tree.kill()
    until(lambda: tree.gone)
    assert tree.reap() == 0


def test_the_end_of_the_launcher_can_be_waited_for(start):
    tree = start("import time; time.sleep(0.3)")
    if tree.ending is None:
        pytest.skip("this system has no descriptors of processes")
    select.select([tree.ending], [], [], 60)
    assert tree.launcher_ended
    assert tree.ending is None


def test_a_process_in_its_exec_is_waited_for(monkeypatch):
    """Between two programs a process shows no environment; then another look is taken a moment later."""
    before, looks = psutil.Process.environ, []

    def environ(process):
        if process.pid != sleeper.pid:
            return before(process)
        looks.append(process.pid)
        return {} if len(looks) == 1 else before(process)

    mark = f"{MARKED}-exec"
    with subprocess.Popen(["sleep", "600"], env={MARK: mark}) as sleeper:
        until(lambda: members(mark))
        monkeypatch.setattr(psutil.Process, "environ", environ)
        assert not is_gone(mark)
        sleeper.kill()
    assert len(looks) == 2


def test_only_the_launcher_is_asked_to_end(start):
    tree = start(FAMILY + "time.sleep(600)")
    until(lambda: len(members(MARKED, tree._launcher.pid)) == 6)
    tree.terminate()
    until(lambda: tree.launcher_ended)
    assert len(members(MARKED, tree._launcher.pid)) == 5


RANKS = """
import subprocess, time
for rank in "01":
    subprocess.Popen(["sh", "-c", f"echo cpt-rank-{rank} > /proc/self/comm; (sleep 600; true)& wait"])
time.sleep(600)
"""


def test_ranks_are_the_launchers_children_and_not_theirs(start):
    tree = start(RANKS)
    until(lambda: len(members(MARKED)) == 7)
    until(lambda: sorted(tree.ranks()) == [0, 1])
    parents = {psutil.Process(process).ppid() for process in tree.ranks().values()}
    assert parents == {tree._launcher.pid}


def test_a_zombie_is_dead():
    zombie = subprocess.Popen(["true"], env={MARK: f"{MARKED}-zombie"})
    until(lambda: is_gone(f"{MARKED}-zombie"))
    zombie.wait()
