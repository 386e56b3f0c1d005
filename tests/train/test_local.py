"""A run without any server, as `cpt train` does it, with one real rank."""

import os
import signal

import psutil
import pytest

from cpt_core.checkpoint import CheckpointError
from cpt_core.events import Checkpoint, StepDone, parse
from cpt_core.train.local import train

from .conftest import make_spec, only_end, write_idx_dataset


@pytest.fixture
def run(tmp_path):
    """Trains, and returns the exit code and what was recorded."""
    write_idx_dataset(tmp_path / "data" / "small")

    def start(spec, **options):
        recorded = tmp_path / "events.jsonl"
        recorded.unlink(missing_ok=True)
        code = train(spec, storage=tmp_path / "storage", data_root=tmp_path / "data", events=recorded, **options)
        return code, [parse(line) for line in recorded.read_text().splitlines()]

    return start


def test_a_run_is_recorded_and_keeps_its_last_checkpoints_from_any_of_which_it_resumes(run, tmp_path):
    spec = make_spec(checkpoint={"every_steps": 2, "keep_last": 2})
    seen = []
    code, events = run(spec, on_event=seen.append)
    assert code == 0
    assert seen == events
    assert only_end(events).outcome == "succeeded"
    saved = [event.path for event in events if isinstance(event, Checkpoint)]
    assert len(saved) == 4
    assert [(tmp_path / "storage" / path).exists() for path in saved] == [False, False, True, True]

    code, resumed = run(spec, resume=tmp_path / "storage" / saved[2])
    assert code == 0
    assert resumed[0].resume_step == 6
    assert [event.step for event in resumed if isinstance(event, StepDone)] == [6, 7]
    assert only_end(resumed).result.loss == only_end(events).result.loss


def test_ctrl_c_stops_after_the_step_with_a_checkpoint(run):
    def interrupt(event):
        if isinstance(event, StepDone) and event.step == 3:
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    code, events = run(make_spec(training={"steps": 100_000, "batch_size": 8}), on_event=interrupt)
    assert code == 0
    assert only_end(events).outcome == "preempted"
    assert isinstance(events[-2], Checkpoint)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_failed_run_says_why_and_ends_with_1(run):
    code, events = run(make_spec(dataset={"name": "idx", "path": "missing"}))
    assert code == 1
    assert only_end(events).reason == "data_error"


def test_a_training_process_that_dies_without_a_word_is_told_too(run):
    def kill_the_rank(event):
        if isinstance(event, StepDone) and event.step == 3:
            # other tests of this process may have left helpers of multiprocessing
            (launcher,) = (child for child in psutil.Process().children() if "cpt_core.launch" in child.cmdline())
            (rank,) = launcher.children()
            rank.kill()

    code, events = run(make_spec(training={"steps": 100_000, "batch_size": 8}), on_event=kill_the_rank)
    assert code == 1
    assert only_end(events).reason == "rank_failed"
    assert "was killed (SIGKILL)" in only_end(events).message


def test_a_folder_that_is_no_checkpoint_is_refused_before_anything_starts(run, tmp_path):
    with pytest.raises(CheckpointError, match="incomplete or gone"):
        run(make_spec(), resume=tmp_path / "storage" / "nothing")
    with pytest.raises(CheckpointError, match="not below the storage"):
        run(make_spec(), resume=tmp_path / "elsewhere")
