"""What a plan forecasts is what the run reports."""

import pytest

from cpt_core.data import DataError
from cpt_core.events import Started, StepDone
from cpt_core.plan import plan

from .conftest import make_spec, only_end

PRECISION = {
    "a cycle into full precision": {"schedule": "cosine", "min_bits": 8, "max_bits": 32, "cycles": 2},
    "CPT": {"schedule": "cosine", "min_bits": 3, "max_bits": 8, "cycles": 2},
    "errors that cycle": {
        "schedule": "CT",
        "cycles": 2,
        "gradient_bits": {"schedule": "cosine", "min_bits": 4, "max_bits": 7, "cycles": 3},
    },
    "pieces, one in full precision": {
        "schedule": "piecewise",
        "pieces": [{"from_step": 0, "bits": 32}, {"from_step": 3, "bits": 6}],
    },
    "fp32": {"schedule": "static", "bits": 32},
}


@pytest.mark.parametrize("precision", PRECISION.values(), ids=PRECISION.keys())
def test_the_forecast_equals_what_the_run_then_reports_exactly(here, precision):
    spec = make_spec(precision=precision)
    planned = plan(spec, here.data_root)
    _code, events = here.train(spec)
    result, started = only_end(events).result, events[0]
    last = [event for event in events if isinstance(event, StepDone)][-1]

    forecast = planned.forecast
    assert forecast.gbitops == result.gbitops == last.gbitops
    assert forecast.modelled_joules == result.modelled_joules == last.modelled_joules
    assert (forecast.gbitops_static, forecast.gbitops_fp32) == (result.gbitops_static, result.gbitops_fp32)
    assert isinstance(started, Started)
    assert (planned.parameters, planned.macs) == (started.parameters, started.macs)
    assert (planned.steps, planned.samples, planned.epochs) == (result.steps, result.samples, 1)
    steps = [event for event in events if isinstance(event, StepDone)]
    assert forecast.mean_forward_bits == sum(step.forward_bits for step in steps) / 8
    assert forecast.mean_backward_bits == sum(step.backward_bits for step in steps) / 8


def test_the_static_forecast_equals_what_static_training_reports(here):
    planned = plan(make_spec(), here.data_root).forecast
    result = only_end(here.train(make_spec(precision={"schedule": "static", "bits": 8}))[1]).result
    assert (planned.gbitops_static, planned.modelled_joules_static) == (result.gbitops, result.modelled_joules)


AUTO = {"schedule": "auto", "min_bits": 7, "max_bits": 8, "steps_per_bits": 2, "window": 1, "cycles": 2}


def test_before_a_range_test_the_forecast_is_the_least_and_the_most_it_can_be(here):
    planned = plan(make_spec(precision=AUTO), here.data_root)
    least, most = planned.forecast_between
    assert planned.forecast is None
    assert (least.mean_forward_bits, most.mean_forward_bits) == ((2 * 8 + 6 * 7) / 8, (2 * 7 + 6 * 8) / 8)
    assert least.gbitops < most.gbitops < least.gbitops_static == most.gbitops_static
    assert least.modelled_joules < most.modelled_joules < least.modelled_joules_static


def test_a_range_test_alone_is_forecast_exactly(here):
    spec = make_spec(type="range_test", precision=AUTO, optimizer={"name": "sgd", "lr": 0.01})
    planned = plan(spec, here.data_root)
    assert (planned.steps, planned.epochs, planned.forecast.mean_forward_bits) == (4, 0.5, 7.5)
    steps = [event for event in here.train(spec)[1] if isinstance(event, StepDone)]
    assert (len(steps), steps[-1].gbitops) == (4, planned.forecast.gbitops)


def test_published_datasets_are_planned_without_their_files(tmp_path):
    spec = make_spec(dataset={"name": "cifar100", "path": "nowhere"}, training={"steps": 780, "batch_size": 128})
    assert plan(spec, tmp_path).epochs == 2


def test_a_dataset_that_must_be_read_but_is_missing_is_named(tmp_path):
    with pytest.raises(DataError, match="small"):
        plan(make_spec(), tmp_path)


def test_a_batch_larger_than_the_training_split_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"lower training\.batch_size"):
        plan(make_spec(dataset={"name": "digits"}, training={"steps": 8, "batch_size": 1438}), tmp_path)
