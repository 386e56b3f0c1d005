"""The cost of training in bit operations."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from cpt_core import cost, schedules
from cpt_core.models import create_model
from cpt_core.quant import quantize_model


@pytest.mark.parametrize(
    ("min_bits", "max_bits", "backward_bits", "saving"),
    [
        (3, 8, 8, -36.67),
        (3, 6, 6, -30.05),
        (3, 4, 6, -14.84),
        (4, 8, 8, -30.11),
        (4, 6, 6, -20.69),
        (5, 8, 8, -23.16),
        (5, 6, 8, -10.23),
    ],
)
def test_cyclic_precision_saves_what_is_published(min_bits, max_bits, backward_bits, saving):
    cyclic = schedules.make("cosine", steps=64_000, cycles=32, min_bits=min_bits, max_bits=max_bits)
    static = schedules.make("static", steps=64_000, max_bits=max_bits)
    ratio = cost.gbitops(10**6, 64_000, cyclic, backward_bits) / cost.gbitops(10**6, 64_000, static, backward_bits)
    assert round(100 * (ratio - 1), 2) == saving


@pytest.mark.parametrize(
    ("name", "saving"),
    [
        *(("RR", -60.1), ("RTH", -60.1), ("LR", -37.2), ("LT", -37.2), ("CR", -36.7), ("CT", -36.7)),
        *(("RTV", -36.3), ("ETV", -36.5), ("ER", -17.8), ("ETH", -17.8)),
    ],
)
def test_the_named_schedules_save_what_is_published(name, saving):
    cyclic = schedules.make(name, steps=64_000, cycles=8, min_bits=3, max_bits=8)
    static = schedules.make("static", steps=64_000, max_bits=8)
    ratio = cost.gbitops(1, 64_000, cyclic, 8) / cost.gbitops(1, 64_000, static, 8)
    assert 100 * (ratio - 1) == pytest.approx(saving, abs=0.06)


def test_a_static_8_bit_step_costs_a_sixteenth_of_full_precision():
    assert cost.relative_cost(8, 8) == 1 / 16
    assert cost.relative_cost(3, 8) == (9 + 48) / 3 / 1024


@pytest.mark.parametrize(("forward_bits", "backward_bits"), [(32, 32), (0, 0), (32, 8), (0, 8)])
def test_full_precision_counts_32_bits_throughout(forward_bits, backward_bits):
    assert cost.relative_cost(forward_bits, backward_bits) == 1


@pytest.mark.parametrize("backward_bits", [0, 32])
def test_unquantised_gradients_count_32_bits(backward_bits):
    assert cost.relative_cost(8, backward_bits) == (64 + 2 * 8 * 32) / 3 / 1024


def test_a_forecast_equals_the_sum_over_the_steps_exactly():
    schedule = schedules.make("cosine", steps=101, cycles=10, min_bits=3, max_bits=8)
    macs, batch = 83_280_512, 128
    run = sum(cost.step_bit_operations(macs, batch, schedule.bits(step), 8) for step in range(101))
    assert cost.gbitops(macs, batch * 101, schedule, 8) == run / 10**9


def test_gradient_bits_that_cycle_are_counted_step_by_step():
    forward = schedules.make("cosine", steps=101, cycles=10, min_bits=3, max_bits=6)
    backward = schedules.make("cosine", steps=101, cycles=10, min_bits=4, max_bits=7)
    run = sum(cost.step_bit_operations(1000, 128, forward.bits(step), backward.bits(step)) for step in range(101))
    assert cost.gbitops(1000, 128 * 101, forward, backward) == run / 10**9


def test_a_cost_is_compared_with_static_training_at_the_highest_bits_and_with_fp32():
    spent = cost.compare(0.5, 1_000_000, 10, 8, 6)
    assert spent.gbitops_static == cost.step_gbitops(1_000_000, 10, 8, 6) == 1.6
    assert spent.gbitops_fp32 == cost.step_gbitops(1_000_000, 10, 32, 32)
    assert spent.saved_vs_static == 1 - 0.5 / 1.6
    assert spent.saved_vs_fp32 == 1 - 0.5 / spent.gbitops_fp32


def test_a_steps_gbitops_are_macs_times_samples_times_the_squares():
    assert cost.step_gbitops(1_000_000, 100, 4, 8) == 0.1 * (16 + 64)


def test_macs_count_groups_strides_and_every_position_of_a_linear_layer():
    model = nn.Sequential(nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2), nn.Flatten(2), nn.Linear(16, 5))
    assert cost.macs(model, (4, 8, 8)) == 6 * 16 * (2 * 9) + 6 * 16 * 5
    profile = cost.profile(model, (4, 8, 8))
    assert profile.weights == 6 * 2 * 9 + 16 * 5
    assert profile.activations == 4 * 8 * 8 + 6 * 16
    assert profile.outputs == 6 * 16 + 6 * 5


def test_macs_of_an_lstm_are_its_weights_at_every_time_step():
    model = nn.Sequential(nn.Embedding(10, 4), nn.LSTM(4, 5, num_layers=2, batch_first=True))
    assert cost.macs(model, (7,)) == 7 * (20 * (4 + 5) + 20 * (5 + 5))


def test_macs_of_a_transformer_layer_are_its_four_projections_and_its_feed_forward_part():
    model = nn.Sequential(nn.Embedding(10, 8), nn.TransformerEncoderLayer(8, 2, 32, batch_first=True))
    assert cost.macs(model, (7,)) == 7 * (4 * 8 * 8 + 2 * 8 * 32)
    quantize_model(model, skip=[]).set(8, 8)
    assert cost.macs(model, (7,)) == 7 * (4 * 8 * 8 + 2 * 8 * 32)


def test_counting_leaves_the_model_as_it_was_and_is_the_same_once_quantised():
    model = create_model("resnet8").double()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    macs = cost.macs(model, (3, 32, 32))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.training
    quantize_model(model).set(8, 8)
    assert cost.macs(model, (3, 32, 32)) == macs


def test_importing_the_cost_model_does_not_load_torch():
    code = "import sys, cpt_core.cost, cpt_core.schedules; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
