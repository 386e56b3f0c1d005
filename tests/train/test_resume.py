"""A resumed run equals an unbroken one, bit for bit."""

import pytest
import torch
from safetensors.torch import load_file

from cpt_core.events import Checkpoint, StepDone

from .conftest import make_spec, only_end, write_idx_dataset

RUNS = {
    "momentum SGD": {},
    "AdamW with a cosine": {"optimizer": {"name": "adamw"}, "lr_schedule": {"name": "cosine", "warmup_steps": 2}},
    "errors that cycle, DoReFa": {
        "precision": {
            "schedule": "piecewise",
            "pieces": [{"from_step": 0, "bits": 8}, {"from_step": 2, "bits": 4}, {"from_step": 5, "bits": 6}],
            "gradient_bits": {"schedule": "cosine", "min_bits": 4, "max_bits": 8, "cycles": 2},
            "quantizer": "dorefa",
        }
    },
    "in integers": {"precision": {"schedule": "static", "bits": 6, "backend": "int8"}},
    "fp32": {"precision": {"schedule": "static", "bits": 32}},
    # 20 images make two batches an epoch: the checkpoint after step 3 is inside the second epoch.
    "accumulated and clipped": {"training": {"steps": 8, "batch_size": 8, "accumulation": 2, "clip_norm": 0.5}},
    "inside an epoch, augmented": {"dataset": {"name": "idx", "path": "twenty", "augment": "crop_flip"}},
}


UNSTEADY = {"time", "samples_per_second", "energy_joules", "step_energy_joules"}
"""What of a step depends on the machine's mood."""


def tensors(here, folder):
    return {
        f"{name}:{key}": value
        for name in ("model", "optimizer")
        for key, value in load_file(f"{here.storage}/{folder}/{name}.safetensors").items()
    }


def assert_same(left, right):
    assert left.keys() == right.keys()
    assert [name for name in left if not torch.equal(left[name], right[name])] == []


def numbers(events):
    """What the steps report, but for their times."""
    return {event.step: event.model_dump(exclude=UNSTEADY) for event in events if isinstance(event, StepDone)}


@pytest.mark.parametrize("parts", RUNS.values(), ids=RUNS.keys())
def test_resuming_gives_the_weights_and_the_numbers_of_an_unbroken_run(here, parts):
    write_idx_dataset(here.data_root / "twenty", images=20)
    spec = make_spec(evaluation={"every_steps": 2}, **parts)
    _code, unbroken = here.train(spec, name="unbroken")
    at_step_3 = next(event for event in unbroken if isinstance(event, Checkpoint))

    code, resumed = here.train(spec, name="resumed", resume=at_step_3)
    assert (code, resumed[0].resume_step) == (0, 3)
    assert numbers(resumed) == {step: shown for step, shown in numbers(unbroken).items() if step >= 3}
    end, expected = only_end(resumed).result, only_end(unbroken).result
    assert_same(tensors(here, end.checkpoint), tensors(here, expected.checkpoint))
    unsteady = {"samples_per_second", "energy_joules", "energy_kwh", "energy_gco2e", "peak_memory", "checkpoint"}
    assert end.model_dump(exclude=unsteady) == expected.model_dump(exclude=unsteady)


def test_a_run_that_was_lost_between_its_last_checkpoint_and_its_end_only_finishes(here):
    spec = make_spec()
    _code, unbroken = here.train(spec, name="unbroken")
    last = [event for event in unbroken if isinstance(event, Checkpoint)][-1]
    _code, resumed = here.train(spec, name="resumed", resume=last)
    assert [event.type for event in resumed] == ["started", "finished"]
    unsteady = {"samples_per_second", "peak_memory"}
    results = [only_end(events).result.model_dump(exclude=unsteady) for events in (resumed, unbroken)]
    assert results[0] == results[1]


TWO_STEPS = {"training": {"steps": 2, "batch_size": 8}, "checkpoint": {"every_steps": 1}}


@pytest.fixture
def saved(here):
    """A checkpoint after one step of two."""
    _code, events = here.train(make_spec(**TWO_STEPS))
    return next(event for event in events if isinstance(event, Checkpoint))


def refusal(here, spec, saved):
    code, events = here.train(spec, resume=saved)
    assert (code, [event.type for event in events]) == (1, ["finished"])
    return events[0].reason, events[0].message


def test_resuming_with_another_spec_is_refused_naming_the_part(here, saved):
    reason, message = refusal(here, make_spec(**TWO_STEPS, optimizer={"name": "sgd", "lr": 0.2}), saved)
    assert reason == "spec_error"
    assert "was made with another optimizer" in message


def test_what_does_not_touch_training_may_change_on_resuming(here, saved):
    spec = make_spec(**TWO_STEPS, name="another name", evaluation={"bits": 4}, resources={"priority": 3})
    code, events = here.train(spec, name="resumed", resume=saved)
    assert code == 0
    assert only_end(events).outcome == "succeeded"


def test_a_damaged_checkpoint_is_told_as_such_naming_the_file(here, saved):
    path = here.folder / "storage" / saved.path / "optimizer.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    reason, message = refusal(here, make_spec(**TWO_STEPS), saved)
    assert reason == "checkpoint_damaged"
    assert "optimizer.safetensors is damaged" in message


def test_a_checkpoint_that_is_not_there_is_a_storage_error(here, saved):
    """The storage may only be away: what was registered in it is not given up for that."""
    (here.folder / "storage").rename(here.folder / "elsewhere")
    assert refusal(here, make_spec(**TWO_STEPS), saved)[0] == "storage"
