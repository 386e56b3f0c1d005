"""Two real ranks under the launcher: agreement, resuming after SIGKILL, stopping, and dying together."""

import psutil
import pytest
import torch
from safetensors.torch import load_file

from cpt_core import launch
from cpt_core.checkpoint import describe
from cpt_core.data import load as load_dataset
from cpt_core.events import Checkpoint, Evaluation, StepDone
from cpt_core.models import create_model
from cpt_core.quant import quantize_model
from cpt_core.train.evaluation import evaluate
from cpt_core.train.ranks import join
from cpt_core.train.tasks import Classification

from .conftest import all_gone, make_spec, only_end, wait_for

STEPS = 12


def spec(steps=STEPS):
    return make_spec(
        training={"steps": steps, "batch_size": 8},
        precision={"schedule": "cosine", "cycles": 2},
        checkpoint={"every_steps": 5},
        resources={"devices": 2},
    )


def training(launched, steps=100_000):
    """A run that is in the middle of training, and its two ranks."""
    run = launched("run", spec(steps))
    wait_for(lambda: any(isinstance(event, StepDone) for event in run.events()))
    ranks = psutil.Process(run.process.pid).children()
    assert len(ranks) == 2
    by_rank = sorted(ranks, key=psutil.Process.name)
    assert [process.name() for process in by_rank] == ["cpt-rank-0", "cpt-rank-1"]
    return run, by_rank


def files(tmp_path, folder):
    return {path.name: load_file(path) for path in sorted((tmp_path / "storage" / folder).glob("*.safetensors"))}


def test_a_run_killed_by_sigkill_and_resumed_equals_an_unbroken_one_on_every_rank(launched, tmp_path):
    code, unbroken = launched("unbroken", spec()).finished()
    assert code == 0

    killed = launched("killed", spec())
    saved = wait_for(lambda: [event for event in killed.events() if isinstance(event, Checkpoint)])[0]
    ranks = psutil.Process(killed.process.pid).children()
    killed.process.kill()
    wait_for(lambda: all_gone(ranks), seconds=10)

    code, resumed = launched("resumed", spec(), resume=saved).finished()
    assert code == 0
    assert [event.step for event in resumed if isinstance(event, StepDone)] == list(range(5, STEPS))
    left, right = (files(tmp_path, only_end(events).result.checkpoint) for events in (unbroken, resumed))
    assert left.keys() == right.keys() == {"model.safetensors", "optimizer.safetensors", "rank-0001.safetensors"}
    for name in left:
        assert left[name].keys() == right[name].keys()
        assert all(torch.equal(left[name][key], right[name][key]) for key in left[name])
    # The ranks saw different samples, so their own statistics differ.
    assert not torch.equal(
        left["model.safetensors"]["bn1.running_mean"], left["rank-0001.safetensors"]["bn1.running_mean"]
    )

    # What two ranks reported of their evaluation is what one finds with the exported weights.
    reported = next(event for event in unbroken if isinstance(event, Evaluation))
    model = create_model("resnet8", num_classes=10)
    precision = quantize_model(model)
    model.load_state_dict(left["model.safetensors"])
    alone = join("cpu")
    images = spec().dataset
    task = Classification(spec(), load_dataset(images, tmp_path / "unbroken"), images, alone)
    found = evaluate(task, model, precision, alone, step=STEPS, bits=8)
    alone.leave()
    assert (found.accuracy, found.samples) == (reported.accuracy, 32)
    assert found.loss == pytest.approx(reported.loss, rel=1e-5)


def test_sigterm_to_one_rank_stops_all_after_the_same_step_with_a_checkpoint(launched, tmp_path):
    run, ranks = training(launched)
    ranks[1].terminate()
    code, events = run.finished()
    assert code == 0
    assert (only_end(events).outcome, only_end(events).reason) == ("preempted", "preempted")
    last_step = [event for event in events if isinstance(event, StepDone)][-1].step
    saved = events[-2]
    assert isinstance(saved, Checkpoint)
    assert saved.step == last_step + 1
    assert describe(str(tmp_path / "storage"), saved.path).sha256 == saved.sha256
    assert launch.failure(run.logs) is None


def test_a_killed_rank_ends_the_run_and_is_named_by_the_launcher(launched):
    run, ranks = training(launched)
    ranks[1].kill()
    code, events = run.finished()
    assert code == 1
    assert not any(event.type == "finished" for event in events)  # rank 0 cannot know: the launcher does
    assert "Training process 1 was killed (SIGKILL)" in launch.failure(run.logs)
    assert all_gone(ranks)


def test_a_failure_that_all_ranks_meet_is_told_once(launched):
    missing = spec().model_dump() | {"dataset": {"name": "idx", "path": "missing"}}
    run = launched("missing", make_spec(**missing))
    code, events = run.finished()
    assert code == 1
    assert [event.type for event in events] == ["finished"]
    assert only_end(events).reason == "data_error"
    failure = launch.failure(run.logs)
    assert "Training process 0 ended with exit code 1" in failure
    assert "missing/train-images-idx3-ubyte" in failure.splitlines()[-1]
