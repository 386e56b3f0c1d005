"""Launchers forked from a process that has torch in memory, held against those that are started as programs."""

import json
import os
import signal
import subprocess
import sys
import uuid

import psutil
import pytest
import torch
from safetensors.torch import load_file

from cpt_core import launch
from cpt_core.process import MARK
from cpt_core.run import Run
from cpt_core.spec import JobSpec
from worker.launchers import ForkServer, Spawned
from worker.settings import environment_of_training
from worker.tree import Tree, members

from .conftest import spec
from .waiting import until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has the fork server")


@pytest.fixture(scope="module")
def forks():
    server = ForkServer()
    yield server
    server.close()


class Started:
    """A run, begun either way."""

    def __init__(self, forks, folder, job):
        folder.mkdir()
        self.folder, self.mark = folder, f"test-{uuid.uuid4().hex}"
        run = Run(
            spec=JobSpec.model_validate(job),
            events=folder / "events.jsonl",
            storage=str(folder / "storage"),
            checkpoints="last",
            best="best",
            data_root=folder,
        )
        run_file, self.logs, output = folder / "run.json", folder / "logs", folder / "launcher.log"
        run_file.write_text(run.model_dump_json())
        self.environment = environment_of_training() | {MARK: self.mark, "CUDA_VISIBLE_DEVICES": "none"}
        options = {"nproc": run.spec.resources.devices, "run_id": self.mark, "log_dir": self.logs}
        if forks:
            self.launcher = forks.launch(run_file, environment=self.environment, output=output, **options)
        else:
            command = launch.command(run_file, **options)
            self.launcher = Spawned(command, environment=self.environment, folder=folder, output=output)
        self.tree = Tree(self.launcher, self.mark)

    def end(self):
        until(lambda: self.tree.gone)
        return self.tree.reap()

    def events(self):
        path = self.folder / "events.jsonl"
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        return [json.loads(line) for line in lines if line.endswith("\n")]


@pytest.fixture
def start(forks, tmp_path):
    runs = []

    def start(job, forks=forks):
        runs.append(Started(forks, tmp_path / str(len(runs)), job))
        return runs[-1]

    yield start
    for run in runs:
        while not run.tree.gone:
            run.tree.kill()


def test_a_forked_run_trains_the_same_weights_as_one_started_as_a_program(start):
    runs = [start(spec(steps=3), forks=None), start(spec(steps=3))]
    assert [run.end() for run in runs] == [0, 0]
    program, forked = (load_file(run.folder / "storage/last/step-00000003/model.safetensors") for run in runs)
    assert program.keys() == forked.keys()
    assert all(torch.equal(program[name], forked[name]) for name in program)


def test_a_forked_launcher_and_its_rank_show_the_mark_of_their_run(start):
    run = start(spec())
    until(lambda: len(members(run.mark)) == 2)
    rank = until(lambda: run.tree.ranks().get(0))
    assert psutil.Process(rank).environ()[MARK] == run.mark
    until(lambda: psutil.Process(rank).name() == "cpt-rank-0")
    assert os.getsid(rank) == rank


def test_ranks_under_torchrun_are_forked_and_show_the_mark_and_their_numbers(start):
    run = start(spec(devices=2))
    ranks = until(lambda: sorted(found := run.tree.ranks()) == [0, 1] and found)
    for number, pid in ranks.items():
        process = psutil.Process(pid)
        assert process.name() == f"cpt-rank-{number}"
        assert process.environ()[MARK] == run.mark
        assert "cpt_core.forkserver" in process.cmdline(), "no program was started, and torch not loaded again"
        assert os.getsid(pid) == pid


def test_a_forked_rank_that_is_killed_is_named_by_its_launcher(start):
    run = start(spec())
    until(run.events)
    os.kill(run.tree.ranks()[0], signal.SIGKILL)
    assert run.end() == 1
    assert "process 0 was killed (SIGKILL)" in launch.failure(run.logs)


def test_of_two_forked_ranks_the_one_that_was_killed_is_named(start):
    run = start(spec(devices=2))
    until(run.events)
    os.kill(run.tree.ranks()[1], signal.SIGKILL)
    assert run.end() == 1
    assert "process 1 was killed (SIGKILL)" in launch.failure(run.logs)


def test_a_forked_run_that_is_asked_to_stop_saves_a_checkpoint(start):
    run = start(spec())
    until(lambda: any(event["type"] == "step" for event in run.events()))
    run.tree.terminate()
    assert run.end() == 0
    assert run.events()[-1]["outcome"] == "preempted"


def test_with_the_fork_server_go_its_runs_and_the_next_is_started_as_a_program(tmp_path, start):
    server = ForkServer()
    run = start(spec(), forks=server)
    until(lambda: run.tree.ranks())
    server._process.kill()
    assert run.end() == -signal.SIGKILL
    assert members(run.mark) == []
    asked = server.launch(
        tmp_path, nproc=1, run_id="", log_dir=tmp_path, environment=run.environment, output=tmp_path / "log"
    )
    assert asked is None
    server.close()


JOINED = """
from cpt_core.forkserver import _join, _large_pages
rows = [bytes([number % 256]) * 100_000 for number in range(400)]
for page in _large_pages():
    _join(page)
assert rows == [bytes([number % 256]) * 100_000 for number in range(400)]
"""


def test_memory_in_large_pages_holds_what_it_held():
    subprocess.run([sys.executable, "-c", JOINED], check=True)
