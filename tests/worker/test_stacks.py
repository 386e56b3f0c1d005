"""A hung process shows its stacks, also while C code blocks it; one that cannot answer is named."""

import signal
import subprocess
import sys

import psutil
import pytest

from cpt_core import launch
from worker.stacks import stacks

from .waiting import until

PROGRAM = """
import sys, time
from cpt_core.process import show_stacks_on_signal
def waits_for_ever():
    print("ready", flush=True)
    time.sleep(1000)
show_stacks_on_signal()
print("noise before", file=sys.stderr, flush=True)
waits_for_ever()
"""


@pytest.fixture
def rank(tmp_path):
    """Starts processes whose error output is where a rank's is."""
    processes = []

    def start(number):
        with launch.output_file(tmp_path, number).open("wb") as stderr:
            process = subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, stderr=stderr)
        processes.append(process)
        assert process.stdout.readline() == b"ready\n"
        return process

    yield start
    for process in processes:
        process.kill()
        process.wait()
        process.stdout.close()


def test_every_rank_shows_what_it_is_doing_and_lives_on(rank, tmp_path):
    ranks = {number: rank(number) for number in (0, 1)}
    for _ in range(2):
        records = list(stacks({number: process.pid for number, process in ranks.items()}, tmp_path))
        assert [record.rank for record in records] == [0, 1]
        for record in records:
            assert "in waits_for_ever" in record.message
            assert "noise before" not in record.message
            assert record.message.count("in waits_for_ever") == 1
    assert all(process.poll() is None for process in ranks.values())


def test_a_rank_that_cannot_answer_is_named_with_its_state(rank, tmp_path):
    process = rank(0)
    process.send_signal(signal.SIGSTOP)
    until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_STOPPED)
    (record,) = stacks({0: process.pid}, tmp_path)
    assert f"process {process.pid} does not answer; it is stopped" in record.message
