"""Stochastic weight averaging: `training.averaging`."""

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from safetensors.torch import load_file

from cpt_core.checkpoint.state import load
from cpt_core.events import Checkpoint, Evaluation, StepDone
from cpt_core.models import create_model
from cpt_core.quant import quantize_model
from cpt_core.spec import problems
from cpt_core.train.evaluation import evaluate

from .conftest import make_spec, only_end
from .test_language_models import LSTM, TEXT
from .test_resume import assert_same, numbers
from .texts import prose

FROM_4_EVERY_2 = {"from_step": 4, "every_steps": 2}
AVERAGED = {"training": {"steps": 8, "batch_size": 8, "averaging": FROM_4_EVERY_2}}


BATCHES = 5
"""Of the pass for statistics, in place of a hundred: these models are small, and evaluated often."""


@pytest.fixture(autouse=True)
def few_batches(monkeypatch):
    monkeypatch.setattr("cpt_core.train.averaging.STATISTICS_BATCHES", BATCHES)


def of(kind, events):
    return [event for event in events if isinstance(event, kind)]


def files(here, checkpoint):
    """All tensors of a checkpoint."""
    folder = here.folder / "storage" / checkpoint
    return {f"{path.name}:{key}": value for path in folder.glob("*") for key, value in read(path).items()}


def read(path):
    return load_file(path) if path.suffix == ".safetensors" else {}


def test_the_average_is_the_mean_of_the_weights_after_the_named_steps(here):
    _code, events = here.train(make_spec(checkpoint={"every_steps": 1, "keep_last": 8}, **AVERAGED))
    folders = [here.folder / "storage" / event.path for event in of(Checkpoint, events)]
    models = [load_file(folder / "model.safetensors") for folder in folders]
    averaged = load_file(folders[-1] / "averaged.safetensors")
    for name, _ in create_model("resnet8", num_classes=10).named_parameters():
        mean = torch.stack([models[done - 1][name] for done in (4, 6, 8)]).double().mean(0)
        torch.testing.assert_close(averaged[name].double(), mean, rtol=1e-6, atol=1e-7)
    assert not any((folder / "averaged.safetensors").exists() for folder in folders[:3])


def test_evaluations_are_of_the_average_once_there_is_one_and_say_so(here):
    spec = make_spec(evaluation={"every_steps": 1}, **AVERAGED)
    _code, events = here.train(spec)
    evaluations = of(Evaluation, events)
    assert [event.averaged for event in evaluations] == [False] * 3 + [True] * 5
    result = only_end(events).result
    assert result.averaged
    assert (result.loss, result.best.averaged) == (evaluations[-1].loss, result.best.step >= 4)
    # At step 4 one set of weights is averaged: the last, but with statistics of its own.
    last = of(Evaluation, here.train(make_spec(evaluation={"every_steps": 1}))[1])
    assert evaluations[2].loss == last[2].loss
    assert evaluations[3].loss != last[3].loss


def test_training_goes_on_as_without_averaging(here):
    def losses(**parts):
        return [step.loss for step in of(StepDone, here.train(make_spec(evaluation={"every_steps": 1}, **parts))[1])]

    assert losses(**AVERAGED) == losses()


def test_the_exported_average_alone_gives_the_reported_figures(here):
    _code, events = here.train(make_spec(**AVERAGED))
    saved = of(Checkpoint, events)[-1]
    exported = load(here.storage, saved).exported
    assert_same(exported, load_file(here.folder / "storage" / saved.path / "averaged.safetensors"))
    with here.trainer(make_spec()) as trainer:
        model = create_model("resnet8", num_classes=10).to(memory_format=torch.channels_last)
        precision = quantize_model(model)
        model.load_state_dict(exported)
        found = evaluate(trainer.task, model, precision, trainer.ranks, step=8, bits=8)
    assert found.loss == only_end(events).result.loss


def test_batch_norm_statistics_are_those_of_the_averaged_weights_on_training_data(here):
    spec = make_spec(
        training={"steps": 8, "batch_size": 8, "averaging": {"from_step": 1, "every_steps": 1}},
        precision={"schedule": "static", "bits": 32},
    )
    with here.trainer(spec) as trainer:
        for step in range(3):
            trainer.step(step)
        before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
        inputs = []
        trainer.model.conv1.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
        with trainer.averaging.applied(trainer.precision, 32):
            weight = trainer.model.conv1.weight.detach()
            assert not torch.equal(weight, before["conv1.weight"])
            assert len(inputs) == BATCHES
            outputs = [F.conv2d(batch, weight, padding=1) for batch in inputs]
            mean = torch.stack([output.mean((0, 2, 3)) for output in outputs]).mean(0)
            variance = torch.stack([output.var((0, 2, 3)) for output in outputs]).mean(0)
            torch.testing.assert_close(trainer.model.bn1.running_mean, mean, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(trainer.model.bn1.running_var, variance, rtol=1e-4, atol=1e-5)
        assert_same(trainer.model.state_dict(), before)
        assert trainer.model.bn1.momentum == 0.1


RESUMED = {
    "CNN": {},
    "accumulated, dropout, LSTM": {
        "model": LSTM,
        "dataset": TEXT,
        "training": {"steps": 8, "batch_size": 4, "accumulation": 2, "averaging": FROM_4_EVERY_2},
        "evaluation": {"batch_size": 4, "every_steps": 2},
    },
}


@pytest.mark.parametrize("step", [2, 6], ids=["before it begins", "after"])
@pytest.mark.parametrize("parts", RESUMED.values(), ids=RESUMED.keys())
def test_a_resumed_run_averages_as_an_unbroken_one_does_bit_for_bit(here, parts, step):
    (here.data_root / "book.txt").write_text(prose())
    evaluation = {"evaluation": {"every_steps": 2}}
    spec = make_spec(**(AVERAGED | evaluation | {"checkpoint": {"every_steps": 2, "keep_last": 9}} | parts))
    _code, unbroken = here.train(spec, name="unbroken")
    saved = next(event for event in of(Checkpoint, unbroken) if event.step == step)
    code, resumed = here.train(spec, name="resumed", resume=saved)
    assert code == 0
    assert numbers(resumed) == {at: shown for at, shown in numbers(unbroken).items() if at >= step}
    end, expected = only_end(resumed).result, only_end(unbroken).result
    assert any(name.startswith("averaged") for name in files(here, end.checkpoint))
    assert_same(files(here, end.checkpoint), files(here, expected.checkpoint))
    assert (end.loss, end.averaged) == (expected.loss, True)


@pytest.mark.parametrize(
    "parts",
    [
        {"training": {"steps": 8, "batch_size": 8, "averaging": {"from_step": 9, "every_steps": 1}}},
        {
            "training": {"steps": 8, "batch_size": 8, "averaging": {"from_step": 3, "every_steps": 1}},
            "precision": {"schedule": "auto", "min_bits": 7, "steps_per_bits": 2, "window": 1, "cycles": 1},
        },
    ],
    ids=["after the end", "inside the range test"],
)
def test_an_average_that_would_begin_too_late_or_inside_the_range_test_is_refused_by_field(parts):
    with pytest.raises(ValidationError) as refused:
        make_spec(**parts)
    assert [problem["pointer"] for problem in problems(refused.value)] == ["/training/averaging/from_step"]
