"""What a run does and reports, in one process."""

import math
import re

import pytest
import torch
from safetensors.torch import load_file

from cpt_core import cost
from cpt_core.events import Checkpoint, Evaluation, Started, StepDone
from cpt_core.models import create_model
from cpt_core.train.attempt import StopRequest
from cpt_core.train.errors import DivergedError

from .conftest import make_spec, only_end, write_idx_dataset


def of(kind, events):
    return [event for event in events if isinstance(event, kind)]


def test_a_run_starts_steps_evaluates_saves_and_finishes_in_this_order(here):
    code, events = here.train(make_spec(evaluation={"every_steps": 4}))
    assert [event.type for event in events] == [
        "started",
        *["step"] * 3,
        "checkpoint",
        "step",
        "evaluation",
        *["step"] * 2,
        "checkpoint",
        *["step"] * 2,
        "evaluation",
        "checkpoint",
        "finished",
    ]
    assert code == 0
    assert [event.step for event in of(StepDone, events)] == list(range(8))
    assert [event.step for event in of(Checkpoint, events)] == [3, 6, 8]
    assert [event.step for event in of(Evaluation, events)] == [4, 8]


def test_started_says_what_trains(here):
    _code, events = here.train(make_spec(training={"steps": 2, "batch_size": 8}))
    started = events[0]
    assert isinstance(started, Started)
    assert (started.resume_step, started.steps, started.world_size, started.device) == (0, 2, 1, "cpu")
    assert (started.parameters, started.macs) == (78_074, 12_501_632)
    assert {"python", "torch", "cpt-service"} <= started.environment.keys()
    assert started.energy.source or started.energy.reason


def test_steps_follow_the_precision_and_learning_rate_schedules(here):
    spec = make_spec(lr_schedule={"name": "multistep", "milestones": [3, 6], "gamma": 0.5, "warmup_steps": 1})
    steps = of(StepDone, here.train(spec)[1])
    assert [event.forward_bits for event in steps] == [3, 4, 6, 7, 3, 4, 6, 7]
    assert {event.backward_bits for event in steps} == {8}
    assert [event.lr for event in steps] == [0.01, 0.1, 0.1, 0.05, 0.05, 0.05, 0.025, 0.025]
    assert {event.epoch for event in steps} == {0}
    assert all(event.loss > 0 and event.samples_per_second > 0 for event in steps)


def test_cumulative_cost_equals_the_forecast_exactly(here):
    spec = make_spec()
    _code, events = here.train(spec)
    macs, schedule = events[0].macs, spec.precision.forward_schedule(8)
    steps, result = of(StepDone, events), only_end(events).result
    assert result.gbitops == steps[-1].gbitops == cost.gbitops(macs, 8 * 8, schedule, 8)
    assert steps[0].gbitops == cost.step_gbitops(macs, 8, 3, 8)
    assert result.gbitops_static == cost.step_gbitops(macs, 64, 8, 8)
    assert result.gbitops_fp32 == cost.step_gbitops(macs, 64, 32, 32)
    assert result.modelled_joules == steps[-1].modelled_joules > steps[0].modelled_joules > 0


def test_full_precision_is_reported_and_costed_as_such(here):
    precision = {"schedule": "static", "bits": 32}
    _code, events = here.train(make_spec(precision=precision, training={"steps": 2, "batch_size": 8}))
    step, result = of(StepDone, events)[-1], only_end(events).result
    assert (step.forward_bits, step.backward_bits, result.bits) == (32, 32, 32)
    assert result.gbitops == result.gbitops_fp32


def test_training_learns(here):
    training = {"steps": 60, "batch_size": 32}
    spec = make_spec(dataset={"name": "digits"}, training=training, lr_schedule={"name": "cosine"}, checkpoint={})
    _code, events = here.train(spec)
    steps, end = of(StepDone, events), only_end(events)
    assert math.fsum(event.loss for event in steps[-5:]) < 0.6 * math.fsum(event.loss for event in steps[:5])
    assert end.result.accuracy > 0.6
    assert (end.outcome, end.reason) == ("succeeded", "completed")
    assert f"{end.result.accuracy:.2%}" in end.message


@pytest.mark.parametrize(("wanted", "used"), [(None, 8), (4, 4), (32, 32)])
def test_evaluation_is_at_the_bits_asked_for_by_default_the_highest(here, wanted, used):
    evaluation = {"bits": wanted}
    _code, events = here.train(make_spec(evaluation=evaluation, training={"steps": 2, "batch_size": 8}))
    (evaluated,) = of(Evaluation, events)
    assert (evaluated.bits, evaluated.samples) == (used, 32)
    assert only_end(events).result.bits == used


def test_evaluating_changes_nothing_in_training(here):
    def losses(**evaluation):
        spec = make_spec(evaluation=evaluation)
        return [event.loss for event in of(StepDone, here.train(spec)[1])]

    assert losses() == losses(every_steps=1)


def test_the_batch_size_of_evaluation_changes_nothing(here):
    results = [of(Evaluation, here.train(make_spec(evaluation={"batch_size": size}))[1])[-1] for size in (500, 7)]
    assert results[0].accuracy == results[1].accuracy
    assert results[0].loss == pytest.approx(results[1].loss, rel=1e-5)


def test_the_exported_weights_load_into_a_plain_model(here):
    _code, events = here.train(make_spec())
    weights = load_file(f"{here.storage}/{only_end(events).result.checkpoint}/model.safetensors")
    missing, surplus = create_model("resnet8", num_classes=10).load_state_dict(weights, strict=False)
    assert missing == []
    assert all(name.endswith((".running_range", ".running_zero_point")) for name in surplus)


def test_the_run_depends_on_the_seed_and_on_nothing_else(here):
    def losses(seed):
        spec = make_spec(training={"steps": 3, "batch_size": 8, "seed": seed})
        return [event.loss for event in of(StepDone, here.train(spec)[1])]

    first = losses(1)
    torch.rand(1)  # somebody else's random numbers
    assert losses(1) == first
    assert losses(2) != first


def test_a_stop_request_ends_the_run_after_the_step_with_a_checkpoint(here):
    stop = StopRequest()
    stop.made = True
    code, events = here.train(make_spec(), stop=stop)
    assert [event.type for event in events] == ["started", "step", "checkpoint", "finished"]
    assert (only_end(events).outcome, only_end(events).reason) == ("preempted", "preempted")
    assert "after 1 of 8 steps" in only_end(events).message
    assert code == 0


def test_a_stop_request_during_the_last_step_does_not_matter(here):
    stop = StopRequest()
    stop.made = True
    _code, events = here.train(
        make_spec(training={"steps": 1, "batch_size": 8}, precision={"schedule": "static"}), stop=stop
    )
    assert only_end(events).outcome == "succeeded"


def failure(here, spec, **options):
    """Reason and message of a run that must fail, with the exit code 1."""
    code, events = here.train(spec, **options)
    end = only_end(events)
    assert (code, end.outcome) == (1, "failed")
    return end.reason, end.message


def test_a_training_that_overflows_ends_as_diverged_naming_the_step(here):
    spec = make_spec(optimizer={"name": "sgd", "lr": 1000.0, "weight_decay": 1.0})  # weights grow a thousandfold a step
    reason, message = failure(here, spec)
    assert reason == "diverged"
    # Which of them is the first depends on how the processor rounds.
    assert re.search(r"the (loss|gradient) of step [1-7], at \d bits, is not finite, first", message)


def test_a_divergence_names_the_first_layer_that_met_nan_or_infinity(here):
    with here.trainer(make_spec()) as trainer:
        weight = trainer.model.get_parameter("layer2.0.conv1.weight")
        weight.data[0, 0, 0, 0] = math.inf
        with pytest.raises(DivergedError, match=r"step 0, at 3 bits, .* first in layer layer2\.0\.conv1\."):
            trainer.step(0)


def test_a_gradient_that_is_not_finite_leaves_the_weights_alone(here):
    with here.trainer(make_spec(precision={"schedule": "static", "bits": 32})) as trainer:
        before = [parameter.clone() for parameter in trainer.model.parameters()]
        trainer.model.fc.register_full_backward_hook(lambda *_: (torch.full((8, 64), math.inf),))
        with pytest.raises(DivergedError, match="the gradient of step 0, at 32 bits, is not finite"):
            trainer.step(0)
        assert all(map(torch.equal, trainer.model.parameters(), before))


def test_a_missing_dataset_is_a_data_error(here):
    reason, message = failure(here, make_spec(dataset={"name": "idx", "path": "nothing"}))
    assert reason == "data_error"
    assert "nothing/train-images-idx3-ubyte" in message


def test_a_batch_larger_than_the_dataset_is_a_data_error(here):
    write_idx_dataset(here.data_root / "tiny", images=4)
    reason, message = failure(here, make_spec(dataset={"name": "idx", "path": "tiny"}))
    assert reason == "data_error"
    assert "8 samples is larger than the training split of tiny, which has 4" in message


def test_an_epoch_ends_with_its_last_complete_batch(here):
    write_idx_dataset(here.data_root / "gzipped", images=20, suffix=".gz")
    dataset = {"name": "idx", "path": "gzipped", "augment": "crop_flip"}
    _code, events = here.train(make_spec(dataset=dataset))
    assert [event.epoch for event in of(StepDone, events)] == [0, 0, 1, 1, 2, 2, 3, 3]


def test_a_storage_that_cannot_be_written_is_a_storage_error(here):
    here.storage = str(here.folder / "file")
    (here.folder / "file").write_text("no folder")
    reason, message = failure(here, make_spec())
    assert reason == "storage"
    assert "step-00000003 cannot be written" in message


def test_more_ranks_than_were_started_are_a_spec_error(here):
    reason, message = failure(here, make_spec(resources={"devices": 2}))
    assert reason == "spec_error"
    assert "resources.devices is 2, but 1 rank(s)" in message


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_cuda_that_is_not_there_is_a_spec_error(here):
    reason, message = failure(here, make_spec(resources={"device": "cuda"}))
    assert reason == "spec_error"
    assert "this machine offers 0" in message


def after_a_step(here, **training):
    """The parameters after one step of 8 images in fp32, from the same start."""
    spec = make_spec(
        precision={"schedule": "static", "bits": 32},
        training={"steps": 1, "batch_size": 8, **training},
        optimizer={"name": "sgd", "lr": 1.0, "weight_decay": 0.0},
    )
    with here.trainer(spec) as trainer:
        trainer.model.eval()  # batch norm sees each part alone; with fixed statistics the parts add up
        before = torch.cat([parameter.detach().clone().flatten() for parameter in trainer.model.parameters()])
        trainer.step(0)
        after = torch.cat([parameter.detach().flatten() for parameter in trainer.model.parameters()])
    return before, after


def test_accumulated_parts_give_the_gradient_of_the_whole_batch(here):
    _, whole = after_a_step(here)
    before, parts = after_a_step(here, accumulation=4)
    assert not torch.equal(before, parts)
    torch.testing.assert_close(parts, whole, rtol=1e-4, atol=1e-5)


def test_accumulation_changes_neither_what_is_counted_nor_the_cost(here):
    def reported(accumulation):
        training = {"steps": 1, "batch_size": 8, "accumulation": accumulation}
        return of(StepDone, here.train(make_spec(training=training, precision={"schedule": "static"}))[1])[0]

    whole, parts = reported(1), reported(4)
    assert parts.gbitops == whole.gbitops
    assert parts.accuracy * 8 == round(parts.accuracy * 8)
    assert parts.loss == pytest.approx(whole.loss, rel=0.5)


def test_a_gradient_longer_than_clip_norm_is_scaled_to_it_and_a_shorter_one_left_alone(here):
    before, free = after_a_step(here)
    length = float((free - before).norm())
    assert float((after_a_step(here, clip_norm=length / 2)[1] - before).norm()) == pytest.approx(length / 2, rel=1e-3)
    assert torch.equal(after_a_step(here, clip_norm=length * 2)[1], free)


def test_top_5_accuracy_is_reported_from_6_classes_on(here):
    write_idx_dataset(here.data_root / "five", classes=5)
    for path, known in (("small", True), ("five", False)):
        spec = make_spec(dataset={"name": "idx", "path": path}, training={"steps": 2, "batch_size": 8})
        result = only_end(here.train(spec, name=path)[1]).result
        assert (result.top5_accuracy is not None) == known
        assert not known or result.top5_accuracy >= result.accuracy


def test_the_result_has_the_best_evaluation_beside_the_last(here):
    _code, events = here.train(make_spec(evaluation={"every_steps": 1}))
    evaluations, result = of(Evaluation, events), only_end(events).result
    best = max(evaluations, key=lambda evaluation: evaluation.accuracy)  # the first of equals
    assert (result.best.step, result.best.accuracy, result.best.loss) == (best.step, best.accuracy, best.loss)
    assert result.accuracy == evaluations[-1].accuracy


def test_peak_memory_is_in_bytes_and_more_than_a_python_process_takes(here):
    result = only_end(here.train(make_spec(training={"steps": 2, "batch_size": 8}))[1]).result
    assert 50 * 2**20 < result.peak_memory < 50 * 2**30
