import subprocess
import sys
import uuid

import psutil
import pytest

from worker.home import Home
from worker.tree import MARK, members

from .waiting import until

MARKED = f"{uuid.uuid4().hex}-1"
"""Other runs of these tests on this machine have marks of their own."""

HOLD = """
import sys, time
from pathlib import Path
from worker.home import Home
home = Home(Path(sys.argv[1]), sys.argv[2])
home.attempt(sys.argv[3]).joinpath("spool").write_text("x")
print("up", flush=True)
time.sleep(600)
"""


@pytest.fixture
def other(tmp_path):
    """Another worker, in a process of its own, with an attempt MARKED in its folder."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path, "other", MARKED], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"up\n"
    yield process
    process.kill()
    process.wait()


def test_each_attempt_gets_a_folder_of_its_own(tmp_path):
    home = Home(tmp_path, "me")
    folder = home.attempt(MARKED)
    assert folder == tmp_path / "me" / MARKED
    with pytest.raises(OSError):
        home.attempt(MARKED)
    home.close()
    assert not (tmp_path / "me").exists()


@pytest.mark.parametrize("mark", ["", ".", "..", "../x", "/etc/x", "a/b", "lock"])
def test_a_name_that_leads_elsewhere_is_refused(tmp_path, mark):
    home = Home(tmp_path, "me")
    with pytest.raises(ValueError):
        home.attempt(mark)
    home.close()


def test_a_living_workers_folder_is_left_alone(tmp_path, other):
    Home(tmp_path, "me").close()
    assert (tmp_path / "other" / MARKED / "spool").exists()


def test_two_living_workers_cannot_have_one_name(tmp_path, other):
    with pytest.raises(ValueError, match="CPT_NAME"):
        Home(tmp_path, "other")


@pytest.mark.parametrize("name", ["me", "other"])
def test_a_dead_workers_folders_are_deleted_and_its_processes_killed(tmp_path, other, name):
    orphan = subprocess.Popen(["sleep", "600"], env={MARK: MARKED}, start_new_session=True)
    until(lambda: members(MARKED))
    other.kill()
    other.wait()

    home = Home(tmp_path, name)
    assert orphan.wait() == -9
    assert not (tmp_path / "other" / MARKED).exists()
    home.close()


def test_other_peoples_folders_are_left_alone(tmp_path):
    (tmp_path / "notes").mkdir()
    Home(tmp_path, "me").close()
    assert (tmp_path / "notes").exists()


def test_other_processes_are_left_alone(tmp_path, other):
    bystander = subprocess.Popen(["sleep", "600"], env={MARK: f"{MARKED}1"})
    other.kill()
    other.wait()
    Home(tmp_path, "me").close()
    assert psutil.pid_exists(bystander.pid)
    assert bystander.poll() is None
    bystander.kill()
    bystander.wait()
