"""Language models in training: what they learn, what is counted, and bit-exact resuming inside an epoch."""

import math

import pytest
import torch
from safetensors.torch import load_file

from cpt_core import cost
from cpt_core.events import Checkpoint, Evaluation, StepDone
from cpt_core.spec import JobSpec

from .conftest import make_spec, only_end
from .test_resume import assert_same, numbers
from .test_training import failure, of
from .texts import prose

LSTM = {"name": "lstm_lm", "hidden_size": 8, "num_layers": 2, "dropout": 0.2}
TRANSFORMER = {"name": "transformer_lm", "d_model": 8, "num_layers": 1, "num_heads": 2, "feed_forward": 16}
TEXT = {"name": "text", "path": "book.txt", "bptt": 5}


def make_text_spec(**parts):
    """Eight steps of 4 streams of 5 words; an epoch of the 2,000 words has 90 steps."""
    small = {"model": LSTM, "dataset": TEXT, "training": {"steps": 8, "batch_size": 4}, "evaluation": {"batch_size": 4}}
    return make_spec(**(small | parts))


@pytest.fixture
def book(here):
    (here.data_root / "book.txt").write_text(prose())
    return here


@pytest.mark.parametrize("model", [LSTM, TRANSFORMER], ids=["lstm", "transformer"])
def test_perplexity_is_the_exponential_of_the_mean_loss_and_accuracy_is_null(book, model):
    _code, events = book.train(make_text_spec(model=model))
    (evaluation,), result = of(Evaluation, events), only_end(events).result
    assert evaluation.perplexity == result.perplexity == result.best.perplexity == math.exp(evaluation.loss)
    assert evaluation.accuracy is result.accuracy is of(StepDone, events)[0].accuracy is None
    assert evaluation.samples == 4 * ((105 - 1) // 4)


@pytest.mark.parametrize("model", [LSTM, TRANSFORMER], ids=["lstm", "transformer"])
def test_a_language_model_learns_below_the_perplexity_of_words_without_context(book, model):
    spec = make_text_spec(
        model=model | {"dropout": 0.0, "num_layers": 1},
        optimizer={"name": "adamw", "lr": 0.03},
        training={"steps": 90, "batch_size": 4, "clip_norm": 0.25},
        checkpoint={},
    )
    assert only_end(book.train(spec)[1]).result.perplexity < 6  # of 11 words, about equally frequent


def test_a_sample_is_a_word_and_the_cost_of_a_run_is_that_of_its_words(book):
    spec = make_text_spec()
    _code, events = book.train(spec)
    macs, result = events[0].macs, only_end(events).result
    assert macs == 4 * (4 * 8 * 8) + 8 * 12  # two layers with two weights of four gates each, and a decoder to 12 words
    assert result.samples == 8 * 4 * 5
    assert result.gbitops == cost.gbitops(macs, 8 * 4 * 5, spec.precision.forward_schedule(8), 8)


def test_the_state_of_an_lstm_is_carried_on_until_the_text_begins_anew(book):
    with book.trainer(make_text_spec(dataset=TEXT | {"bptt": 210}, training={"steps": 8, "batch_size": 4})) as trainer:
        states = []
        for step in range(4):  # two stretches make an epoch
            trainer.step(step)
            states.append(trainer.task.carried()["0/0"])
        trainer.task.carry_on({})
        trainer.precision.set(32, 32)
        trainer.model.eval()
        assert [trainer.task.epoch(step) for step in range(4)] == [0, 0, 1, 1]
        losses = {}
        for name, carried in (("fresh", {}), ("carried", {"0/0": states[0], "0/1": states[0]})):
            for step in (0, 1):
                trainer.task.carry_on(dict(carried))
                losses[name, step] = float(trainer.task.forward(trainer.model, step, 0).loss)
        assert losses["fresh", 1] != losses["carried", 1]
        assert losses["fresh", 0] == losses["carried", 0]


RESUMED = {
    "LSTM": {},
    "LSTM, accumulated": {"training": {"steps": 8, "batch_size": 4, "accumulation": 2, "clip_norm": 0.25}},
    "LSTM in fp32": {"precision": {"schedule": "static", "bits": 32}},
    "LSTM in integers": {"precision": {"schedule": "static", "bits": 8, "backend": "int8"}},
    "transformer": {"model": TRANSFORMER},
    "transformer in integers": {
        "model": TRANSFORMER,
        "precision": {"schedule": "static", "bits": 4, "backend": "int8"},
    },
    "transformer in FP8": {"model": TRANSFORMER, "precision": {"schedule": "static", "bits": 8, "backend": "fp8"}},
}


@pytest.mark.parametrize("parts", RESUMED.values(), ids=RESUMED.keys())
def test_a_language_model_resumed_inside_an_epoch_equals_an_unbroken_one(book, parts):
    spec = make_text_spec(**parts)
    _code, unbroken = book.train(spec, name="unbroken")
    at_step_3 = next(event for event in unbroken if isinstance(event, Checkpoint))
    code, resumed = book.train(spec, name="resumed", resume=at_step_3)
    assert code == 0
    assert numbers(resumed) == {step: shown for step, shown in numbers(unbroken).items() if step >= 3}
    assert_same(*(weights(book.folder, only_end(events)) for events in (resumed, unbroken)))


def test_a_training_in_fp8_starts_as_simulated_and_names_its_layers(book):
    def run(backend):
        precision = {"schedule": "static", "bits": 5, "backend": backend}
        _code, events = book.train(make_text_spec(model=TRANSFORMER, precision=precision), name=backend)
        return events[0].backends, [step.loss for step in of(StepDone, events)]

    (names, losses), (fp8_names, fp8_losses) = run("simulated"), run("fp8")
    assert fp8_names == {"fp8": names["simulated"]}
    assert fp8_losses[0] == pytest.approx(losses[0], rel=1e-3)


def test_fp8_on_a_device_without_it_ends_the_run_naming_the_field_and_what_to_use(book, monkeypatch):
    monkeypatch.setattr("cpt_core.quant.integer.fp8_products.lacking", lambda _device: "a better GPU")
    spec = make_text_spec(precision={"schedule": "static", "backend": "fp8"})
    reason, message = failure(book, spec)
    assert reason == "spec_error"
    assert "precision.backend: backend 'fp8' needs a better GPU: use 'int8' or 'auto'." in message


def test_two_ranks_with_an_lstm_resume_to_the_weights_and_states_of_an_unbroken_run(launched, tmp_path):
    spec = make_text_spec(resources={"devices": 2})
    for name in ("unbroken", "resumed"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "book.txt").write_text(prose())
    code, unbroken = launched("unbroken", spec).finished()
    assert code == 0
    at_step_3 = next(event for event in unbroken if isinstance(event, Checkpoint))
    code, resumed = launched("resumed", spec, resume=at_step_3).finished()
    assert code == 0
    left, right = (weights(tmp_path, only_end(events)) for events in (resumed, unbroken))
    assert_same(left, right)
    states = left["carried.safetensors:0/0"]
    assert states.shape == (2, 2, 2, 8)  # ranks, layers, streams of a rank, units
    assert not torch.equal(states[0], states[1])


def weights(folder, end):
    return {
        f"{path.name}:{key}": value
        for path in (folder / "storage" / end.result.checkpoint).glob("*.safetensors")
        for key, value in load_file(path).items()
    }


def test_an_image_model_on_text_and_a_language_model_on_images_are_refused():
    for parts in ({"model": {"name": "resnet8"}}, {"dataset": {"name": "digits"}}):
        with pytest.raises(ValueError, match=r"takes (images|text): use"):
            make_text_spec(**parts)


def test_a_missing_text_is_a_data_error(here):
    reason, message = failure(here, make_text_spec())
    assert reason == "data_error"
    assert "book.txt is not in" in message


def test_a_text_too_short_for_one_batch_is_a_data_error(here):
    (here.data_root / "book.txt").write_text("only a few words")
    assert failure(here, make_text_spec())[0] == "data_error"


def test_streams_are_split_over_the_devices_evenly():
    with pytest.raises(ValueError, match="4 samples cannot be split evenly over 3 devices"):
        make_text_spec(resources={"devices": 3})
    assert isinstance(make_text_spec(resources={"devices": 2}), JobSpec)
