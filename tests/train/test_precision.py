"""Every quantiser, model and kind of schedule that a spec can name trains."""

import pytest

from cpt_core import cost
from cpt_core.events import Started, StepDone

from .conftest import make_spec, only_end

TWO_STEPS = {"training": {"steps": 2, "batch_size": 8}}


def steps_of(events):
    return [event for event in events if isinstance(event, StepDone)]


@pytest.mark.parametrize("model", ["mobilenet_v2", "resnet18"])
def test_a_model_of_any_family_trains(here, model):
    code, _events = here.train(make_spec(model={"name": model}, precision={"schedule": "static"}, **TWO_STEPS))
    assert code == 0


def test_the_quantisers_train_to_different_weights(here):
    def loss(quantizer):
        precision = {"schedule": "static", "bits": 4, "quantizer": quantizer}
        return only_end(here.train(make_spec(precision=precision, **TWO_STEPS), name=quantizer)[1]).result.loss

    assert len({loss(quantizer) for quantizer in ("sbm", "dorefa", "wageubn")}) == 3


def test_pieces_are_followed_and_the_highest_is_evaluated(here):
    pieces = [{"from_step": 0, "bits": 4}, {"from_step": 2, "bits": 6}, {"from_step": 5, "bits": 3}]
    _code, events = here.train(make_spec(precision={"schedule": "piecewise", "pieces": pieces}))
    assert [event.forward_bits for event in steps_of(events)] == [4, 4, 6, 6, 6, 3, 3, 3]
    assert only_end(events).result.bits == 6


def test_a_cycle_to_32_bits_is_in_full_precision_above_16(here):
    precision = {"schedule": "LR", "min_bits": 8, "max_bits": 32, "cycles": 1}
    _code, events = here.train(make_spec(precision=precision))
    # 8, 11, 14, 17, 20, 23, 26, 29 as scheduled; errors follow the forward pass into full precision.
    assert [event.forward_bits for event in steps_of(events)] == [8, 11, 14, 32, 32, 32, 32, 32]
    assert [event.backward_bits for event in steps_of(events)] == [8, 8, 8, 32, 32, 32, 32, 32]
    assert only_end(events).result.bits == 32


def test_errors_cycle_by_their_own_bounds_and_are_counted_so(here):
    gradient = {"schedule": "cosine", "min_bits": 4, "max_bits": 6, "cycles": 4}
    _code, events = here.train(make_spec(precision={"schedule": "static", "bits": 8, "gradient_bits": gradient}))
    assert [event.backward_bits for event in steps_of(events)] == [4, 5] * 4
    macs = next(event for event in events if isinstance(event, Started)).macs
    result = only_end(events).result
    assert (
        result.gbitops == 4 * 8 * macs * (cost.bit_operations_per_mac(8, 4) + cost.bit_operations_per_mac(8, 5)) / 1e9
    )
    assert result.gbitops_static == cost.step_gbitops(macs, 64, 8, 6)


@pytest.mark.parametrize("model", [{"name": "resnet8"}, {"name": "resnet18"}], ids=lambda model: model["name"])
def test_training_in_integers_starts_as_simulated_and_names_its_layers(here, model):
    def run(backend):
        precision = {"schedule": "static", "bits": 8, "backend": backend}
        _code, events = here.train(make_spec(model=model, precision=precision, **TWO_STEPS), name=backend)
        (started,) = (event for event in events if isinstance(event, Started))
        return started.backends, [step.loss for step in steps_of(events)]

    simulated, losses = run("simulated")
    integers, mine = run("int8")
    assert list(simulated) == ["simulated"]
    assert integers == {"int8": simulated["simulated"]}
    # A code at the border of two may fall to the other side, which later layers and steps amplify.
    assert mine[0] == pytest.approx(losses[0], rel=1e-2)
    assert mine != losses
