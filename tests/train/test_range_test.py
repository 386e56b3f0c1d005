"""The precision range test in a training: `precision.schedule: auto`."""

import numpy as np
import pytest
from pydantic import ValidationError

from cpt_core.events import Checkpoint, Evaluation, RangeTest, StepDone
from cpt_core.schedules import make
from cpt_core.spec import JobSpec, problems

from .conftest import make_spec, only_end, write_idx
from .test_resume import UNSTEADY, assert_same, numbers, tensors
from .texts import prose


@pytest.fixture
def easy(here):
    """Sixty-four images, black or white as their class is."""
    folder = here.data_root / "easy"
    folder.mkdir()
    labels = np.arange(64) % 2
    for prefix in ("train", "t10k"):
        write_idx(folder / f"{prefix}-images-idx3-ubyte", np.repeat(labels * 255, 28 * 28).reshape(64, 28, 28))
        write_idx(folder / f"{prefix}-labels-idx1-ubyte", labels)
    return here


def auto_spec(**parts):
    """Six steps at each of 6, 7 and 8 bits, then eight of two cycles."""
    options = {"min_bits": 6, "max_bits": 8, "steps_per_bits": 6, "window": 1, "cycles": 2}
    document = {
        "dataset": {"name": "idx", "path": "easy"},
        "precision": {"schedule": "auto", **options},
        "training": {"steps": 26, "batch_size": 8},
        "evaluation": {"every_steps": 4, "batch_size": 32},
    }
    return make_spec(**(document | parts))


def of(kind, events):
    return [event for event in events if isinstance(event, kind)]


def test_every_width_is_tried_then_training_cycles_within_the_bounds_found(easy):
    code, events = easy.train(auto_spec())
    assert code == 0
    (outcome,) = of(RangeTest, events)
    bounds = outcome.bounds
    assert bounds is not None
    steps = of(StepDone, events)
    assert [step.forward_bits for step in steps[:18]] == [6] * 6 + [7] * 6 + [8] * 6
    cycles = make("cosine", steps=8, cycles=2, min_bits=bounds.min_bits, max_bits=bounds.max_bits)
    assert [step.forward_bits for step in steps[18:]] == cycles.all().tolist()
    assert only_end(events).result.bits == bounds.max_bits


def test_the_curve_is_that_of_the_steps_and_comes_when_the_test_is_over(easy):
    _code, events = easy.train(auto_spec())
    accuracies = [step.accuracy for step in of(StepDone, events)]
    (outcome,) = of(RangeTest, events)
    assert [(point.bits, point.first, point.last) for point in outcome.curve] == [
        (bits, accuracies[begin], accuracies[begin + 5]) for bits, begin in ((6, 0), (7, 6), (8, 12))
    ]
    assert outcome.step == 18
    assert isinstance(events[events.index(outcome) - 1], StepDone)


def test_every_width_starts_from_the_same_weights_on_the_same_batches(easy):
    # At 15 and 16 bits rounding hardly shows in six steps.
    precision = {"schedule": "auto", "min_bits": 15, "max_bits": 16, "steps_per_bits": 6, "window": 1}
    spec = auto_spec(precision=precision | {"gradient_bits": 16}, type="range_test")
    steps = of(StepDone, easy.train(spec)[1])
    assert [step.loss for step in steps[:6]] == pytest.approx([step.loss for step in steps[6:]], abs=0.005)
    assert steps[0].loss > 0.5 > 0.1 > steps[5].loss


def test_weights_that_do_not_stay_are_not_evaluated(easy):
    _code, events = easy.train(auto_spec())
    assert [event.step for event in of(Evaluation, events)] == [20, 24, 26]


@pytest.mark.parametrize("step", [3, 6, 18, 21])
def test_a_run_resumed_inside_the_test_or_after_it_equals_an_unbroken_one(easy, step):
    _code, unbroken = easy.train(auto_spec(), name="unbroken")
    saved = next(event for event in of(Checkpoint, unbroken) if event.step == step)
    code, resumed = easy.train(auto_spec(), name="resumed", resume=saved)
    assert (code, resumed[0].resume_step) == (0, step)
    assert numbers(resumed) == {at: shown for at, shown in numbers(unbroken).items() if at >= step}
    end, expected = only_end(resumed).result, only_end(unbroken).result
    assert_same(tensors(easy, end.checkpoint), tensors(easy, expected.checkpoint))
    assert (end.gbitops, end.modelled_joules, end.bits) == (expected.gbitops, expected.modelled_joules, expected.bits)
    outcomes = [event.model_dump(exclude={"time"}) for event in of(RangeTest, unbroken)]
    assert [event.model_dump(exclude={"time"}) for event in of(RangeTest, resumed)] == (outcomes if step < 18 else [])


def alone(**parts):
    """The test of a training of 26 steps, and nothing else."""
    return auto_spec(type="range_test", **parts)


def test_a_job_of_type_range_test_ends_with_the_test_and_its_result_has_the_bounds(easy):
    code, events = easy.train(alone())
    assert code == 0
    assert [event.type for event in events[-2:]] == ["range_test", "finished"]
    assert events[0].steps == 18
    (outcome,), end = of(RangeTest, events), only_end(events)
    assert end.result.bounds == outcome.bounds is not None
    assert (end.result.steps, end.result.samples) == (18, 18 * 8)
    assert f"precision.min_bits to {outcome.bounds.min_bits}" in end.message


def test_it_finds_what_the_training_of_the_same_spec_would(easy):
    schedule = {"lr_schedule": {"name": "cosine"}}  # to the end of the training, not of the test
    steps, outcomes = zip(
        *(
            ([step.model_dump(exclude=UNSTEADY) for step in of(StepDone, events)][:18], of(RangeTest, events)[0])
            for events in (easy.train(make(**schedule))[1] for make in (auto_spec, alone))
        ),
        strict=True,
    )
    assert steps[0] == steps[1]
    assert outcomes[0].curve == outcomes[1].curve


def test_weights_that_are_thrown_away_are_neither_evaluated_nor_kept(easy):
    _code, events = easy.train(alone(checkpoint={"every_steps": 6}))
    assert of(Evaluation, events) == []
    assert [event.step for event in of(Checkpoint, events)] == [6, 12]  # to go on from
    result = only_end(events).result
    assert result.accuracy is result.loss is result.bits is result.best is result.checkpoint is None


def test_a_range_test_resumed_finds_the_same_bounds(easy):
    spec = alone(checkpoint={"every_steps": 9})
    _code, unbroken = easy.train(spec, name="unbroken")
    (saved,) = of(Checkpoint, unbroken)
    _code, resumed = easy.train(spec, name="resumed", resume=saved)
    assert only_end(resumed).result.bounds == only_end(unbroken).result.bounds


@pytest.mark.parametrize(
    ("parts", "pointer"),
    [
        ({"precision": {"schedule": "cosine", "cycles": 2}}, "/precision/schedule"),
        ({"training": {"steps": 5, "batch_size": 8}}, "/precision/steps_per_bits"),
        ({"lr_schedule": {"name": "constant", "warmup_steps": 27}}, "/lr_schedule/warmup_steps"),
    ],
)
def test_a_spec_without_a_test_or_too_short_for_it_is_refused_by_field(parts, pointer):
    with pytest.raises(ValidationError) as refused:
        alone(**parts)
    assert [problem["pointer"] for problem in problems(refused.value)] == [pointer]


def test_a_training_as_long_as_its_test_has_no_steps_left_to_cycle_in():
    with pytest.raises(ValidationError, match="2 cycles at least as many"):
        auto_spec(training={"steps": 18, "batch_size": 8})


def test_where_nothing_learns_the_run_says_what_to_change(easy):
    spec = auto_spec(optimizer={"name": "sgd", "lr": 1e-9, "momentum": 0.0})
    code, events = easy.train(spec)
    assert code == 1
    assert of(RangeTest, events)[0].bounds is None
    assert only_end(events).reason == "spec_error"
    assert "raise precision.steps_per_bits" in only_end(events).message


def test_on_digits_two_bits_learn_too_little_and_eight_are_not_needed(here):
    document = {
        "type": "range_test",
        "model": {"name": "resnet8"},
        "dataset": {"name": "digits"},
        "precision": {"schedule": "auto", "max_bits": 6, "steps_per_bits": 60, "threshold": 0.9},
        "training": {"steps": 1000, "batch_size": 32},
        "evaluation": {"batch_size": 360},
    }
    _code, events = here.train(JobSpec.model_validate(document))
    (outcome,) = of(RangeTest, events)
    gains = [point.gain for point in outcome.curve]
    assert outcome.bounds is not None
    assert outcome.bounds.min_bits in (4, 5)
    assert outcome.bounds.max_bits in (5, 6)
    assert gains[0] < gains[1] < 0.75 * gains[-1]
    assert gains[0] < 0.3 * gains[-1]


def test_a_language_model_is_tested_by_its_perplexity_from_the_beginning_of_the_text(here):
    (here.data_root / "book.txt").write_text(prose())
    spec = auto_spec(
        model={"name": "lstm_lm", "hidden_size": 16, "num_layers": 1, "dropout": 0.0},
        dataset={"name": "text", "path": "book.txt", "bptt": 5},
        precision={"schedule": "auto", "min_bits": 7, "steps_per_bits": 20, "window": 5, "cycles": 1},
        optimizer={"name": "adamw", "lr": 0.03},
        training={"steps": 44, "batch_size": 4},
        evaluation={"batch_size": 4},
        checkpoint={"every_steps": 25},
    )
    _code, unbroken = here.train(spec, name="unbroken")
    assert of(RangeTest, unbroken)[0].bounds is not None
    # At 7 bits and at 8 the first loss is that of the same weights on the same words, nothing read before.
    losses = [step.loss for step in of(StepDone, unbroken)]
    assert losses[20] == pytest.approx(losses[0], abs=0.01)
    assert losses[19] < losses[0] - 0.1

    _code, resumed = here.train(spec, name="resumed", resume=of(Checkpoint, unbroken)[0])
    assert numbers(resumed) == {at: shown for at, shown in numbers(unbroken).items() if at >= 25}


def test_two_ranks_agree_on_the_bounds_and_resume_inside_the_test_exactly(launched):
    spec = auto_spec(
        dataset={"name": "digits"},
        precision={"schedule": "auto", "min_bits": 7, "steps_per_bits": 20, "window": 5, "cycles": 2},
        training={"steps": 44, "batch_size": 16},
        evaluation={"batch_size": 360},
        checkpoint={"every_steps": 30},
        resources={"devices": 2, "device": "cpu"},
    )
    code, unbroken = launched("unbroken", spec).finished()
    assert (code, only_end(unbroken).outcome) == (0, "succeeded")
    code, resumed = launched("resumed", spec, resume=of(Checkpoint, unbroken)[0]).finished()
    assert (code, resumed[0].resume_step) == (0, 30)
    assert numbers(resumed) == {at: shown for at, shown in numbers(unbroken).items() if at >= 30}
    assert of(RangeTest, resumed)[0].bounds == of(RangeTest, unbroken)[0].bounds is not None
    assert only_end(resumed).result.loss == only_end(unbroken).result.loss
