"""What a run reports of its cost and energy, step by step and in all."""

import math

import pytest

from cpt_core import cost
from cpt_core.carbon import WORLD_AVERAGE
from cpt_core.energy.counter import Counter
from cpt_core.energy.meter import EnergyMeter
from cpt_core.events import EnergySource, Started, StepDone

from .conftest import make_spec, only_end

SHORT = {"training": {"steps": 4, "batch_size": 8}}


def of(kind, events):
    return [event for event in events if isinstance(event, kind)]


@pytest.fixture
def counter(monkeypatch):
    """A meter on a counter that grows by a joule each time it is read, in place of this machine's."""
    readings = iter(range(10_000))

    def open_meter(*_, **__):
        return EnergyMeter(EnergySource(source="rapl", scope="test"), [Counter(lambda: next(readings), 1.0)])

    monkeypatch.setattr("cpt_core.energy.open_meter", open_meter)


@pytest.fixture
def no_counter(monkeypatch):
    """A machine without a counter."""
    monkeypatch.setattr("cpt_core.energy.open_meter", lambda *_, **__: EnergyMeter(EnergySource(reason="none")))


def test_each_step_has_its_own_cost_and_they_add_up_to_the_sum(here):
    steps = of(StepDone, (events := here.train(make_spec())[1]))
    macs = of(Started, events)[0].macs
    assert [step.step_gbitops for step in steps] == [cost.step_gbitops(macs, 8, step.forward_bits, 8) for step in steps]
    assert math.fsum(step.step_gbitops for step in steps) == pytest.approx(steps[-1].gbitops)
    assert math.fsum(step.step_modelled_joules for step in steps) == pytest.approx(steps[-1].modelled_joules)
    by_bits = {step.forward_bits: step.step_modelled_joules for step in steps}
    assert [by_bits[bits] for bits in sorted(by_bits)] == sorted(by_bits.values())


def test_a_steps_measured_energy_is_its_own_without_what_is_done_between_steps(here, counter):
    spec = make_spec(evaluation={"every_steps": 1}, **SHORT)
    steps = of(StepDone, here.train(spec)[1])
    # The counter is read when a step begins and when it ends, and nowhere else.
    assert [step.step_energy_joules for step in steps] == [1.0] * 4
    assert [step.energy_joules for step in steps] == [3.0, 5.0, 7.0, 9.0]


def test_without_a_counter_measured_energy_is_null_everywhere_and_the_modelled_is_there(here, no_counter):
    _code, events = here.train(make_spec(**SHORT))
    result = only_end(events).result
    assert {step.step_energy_joules for step in of(StepDone, events)} == {None}
    assert result.energy_joules is result.energy_kwh is result.energy_gco2e is None
    assert result.modelled_joules > result.modelled_kwh > 0
    assert result.modelled_gco2e > 0


def test_energy_is_converted_by_the_grid_of_the_worker_which_the_run_names(here, counter):
    _code, events = here.train(make_spec(**SHORT), grid_gco2e_per_kwh=50.0)
    result = only_end(events).result
    assert of(Started, events)[0].grid_gco2e_per_kwh == result.grid_gco2e_per_kwh == 50.0
    for joules, kwh, gco2e in (
        (result.modelled_joules, result.modelled_kwh, result.modelled_gco2e),
        (result.energy_joules, result.energy_kwh, result.energy_gco2e),
    ):
        assert kwh == pytest.approx(joules / 3_600_000)
        assert gco2e == pytest.approx(50 * kwh)


def test_the_grid_is_the_worlds_average_unless_set_and_may_be_free_of_carbon(here):
    assert here.run(make_spec()).grid_gco2e_per_kwh == WORLD_AVERAGE
    result = only_end(here.train(make_spec(**SHORT), grid_gco2e_per_kwh=0.0)[1]).result
    assert result.modelled_gco2e == 0


@pytest.mark.parametrize("factor", [-1.0, 2001.0, math.nan, math.inf])
def test_a_grid_that_cannot_be_is_refused(here, factor):
    with pytest.raises(ValueError, match="grid_gco2e_per_kwh"):
        here.run(make_spec(), grid_gco2e_per_kwh=factor)
