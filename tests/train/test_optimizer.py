"""Learning rates and the optimiser's state."""

import pytest
import torch
from pydantic import TypeAdapter

from cpt_core.spec import LrScheduleSpec, OptimizerSpec
from cpt_core.train.optimizer import learning_rate, make_optimizer, restore, state_tensors

STEPS = 10


def rates(**schedule):
    spec = TypeAdapter(LrScheduleSpec).validate_python(schedule)
    return [learning_rate(spec, 0.1, step, STEPS) for step in range(STEPS)]


def test_constant_is_constant():
    assert rates(name="constant") == [0.1] * STEPS


def test_multistep_multiplies_from_each_milestone_on():
    assert rates(name="multistep", milestones=[4, 8], gamma=0.5) == [0.1] * 4 + [0.05] * 4 + [0.025] * 2


def test_cosine_falls_from_the_base_rate_towards_the_final_one():
    values = rates(name="cosine", final_lr=0.02)
    assert values[0] == 0.1
    assert values[5] == pytest.approx(0.06)
    assert values == sorted(values, reverse=True)
    assert 0.02 < values[-1] < 0.03


@pytest.mark.parametrize("name", ["constant", "cosine"])
def test_warm_up_comes_first_and_the_schedule_takes_over_where_it_would_be(name):
    plain, warm = rates(name=name), rates(name=name, warmup_steps=3, warmup_lr=0.01)
    assert warm == [0.01] * 3 + plain[3:]


@pytest.mark.parametrize(
    "document",
    [
        {"name": "sgd"},
        {"name": "sgd", "nesterov": True},
        {"name": "sgd", "momentum": 0.0},
        {"name": "adamw"},
    ],
    ids=str,
)
def test_a_restored_optimizer_goes_on_bit_for_bit(document):
    spec = TypeAdapter(OptimizerSpec).validate_python(document)

    def trained(steps, model, optimizer):
        for step in steps:
            torch.manual_seed(step)
            optimizer.zero_grad()
            model(torch.randn(8, 5)).square().sum().backward()
            optimizer.step()

    torch.manual_seed(0)
    unbroken = torch.nn.Linear(5, 3)
    optimizer = make_optimizer(spec, unbroken)
    trained(range(3), unbroken, optimizer)

    resumed = torch.nn.Linear(5, 3)
    resumed.load_state_dict(unbroken.state_dict())
    other = make_optimizer(spec, resumed)
    restore(other, resumed, {name: tensor.clone() for name, tensor in state_tensors(optimizer, unbroken).items()})

    trained(range(3, 6), unbroken, optimizer)
    trained(range(3, 6), resumed, other)
    assert torch.equal(unbroken.weight, resumed.weight)
    assert torch.equal(unbroken.bias, resumed.bias)
