"""QuantLSTM: nn.LSTM with quantised products."""

import dataclasses
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_sequence

from cpt_core.quant import QuantLSTM, quantize_model, sbm

OPTIONS = [
    {},
    {"num_layers": 2, "dropout": 0.0},
    {"batch_first": True},
    {"bidirectional": True, "num_layers": 2},
    {"bias": False},
    {"proj_size": 3},
    {"proj_size": 3, "bidirectional": True},
]


def lstm(dtype: torch.dtype = torch.float64, **options) -> QuantLSTM:
    torch.manual_seed(0)
    return QuantLSTM(4, 5, dtype=dtype, **options)


def sequence(*shape: int) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("options", OPTIONS)
def test_at_16_bits_it_agrees_with_torch_in_outputs_states_and_gradients(options):
    layer, expected = lstm(**options), lstm(**options)
    layer.bit_widths.set(16, 16)
    x, y = (sequence(7, 3, 4).requires_grad_() for _ in range(2))
    got = layer(x)
    want = expected(y)
    (got[0].square().sum() + got[1][1].sum()).backward()
    (want[0].square().sum() + want[1][1].sum()).backward()
    torch.testing.assert_close(got, want, rtol=0, atol=2e-3)
    torch.testing.assert_close(x.grad, y.grad, rtol=0, atol=5e-3)
    for name, parameter in expected.named_parameters():
        torch.testing.assert_close(layer.get_parameter(name).grad, parameter.grad, rtol=0, atol=3e-2)


@pytest.mark.parametrize("options", OPTIONS)
def test_in_full_precision_it_is_torchs(options):
    layer = lstm(**options)
    torch.manual_seed(0)
    expected = nn.LSTM(4, 5, dtype=torch.float64, **options)
    x = sequence(7, 3, 4)
    torch.testing.assert_close(layer(x), expected(x), rtol=0, atol=0)


def test_a_time_step_rounds_input_state_and_weights_as_sbm_does():
    layer = lstm()
    layer.bit_widths.set(4, 32)
    x, h, c = sequence(1, 3, 4), sequence(1, 3, 5).tanh(), sequence(1, 3, 5)
    y, (_, c_next) = layer(x, (h, c))
    gates = (
        sbm.quantize_activation(x, 4)[0] @ sbm.quantize_weight(layer.weight_ih_l0, 4).T
        + sbm.quantize_activation(h, 4)[0] @ sbm.quantize_weight(layer.weight_hh_l0, 4).T
        + layer.bias_ih_l0
        + layer.bias_hh_l0
    )
    i, f, g, o = gates.chunk(4, dim=-1)
    expected = f.sigmoid() * c[0] + i.sigmoid() * g.tanh()
    torch.testing.assert_close(c_next[0], expected)
    torch.testing.assert_close(y[0], o.sigmoid() * expected.tanh())


def test_the_gates_gradient_has_one_range_per_batch_row():
    layer = lstm(bias=False)
    layer.bit_widths.set(16, 4)
    layer.bit_widths.stochastic = False
    captured = []

    def capture(g: torch.Tensor, *args: Any) -> torch.Tensor:
        rounded = sbm.QUANTIZER.gradient(g, *args)
        captured.extend((g.clone(), rounded))
        return rounded

    layer.quantizer = dataclasses.replace(sbm.QUANTIZER, gradient=capture)
    layer(sequence(1, 3, 4))[0].square().sum().backward()
    before, after = captured
    assert before.shape == (1, 3, 20)
    for row in range(3):
        assert torch.equal(after[:, row], sbm.quantize_gradient(before[:, row], 4, stochastic=False))


@pytest.mark.parametrize("bits", [(8, 8), (3, 4), (8, 32)], ids=str)
@pytest.mark.parametrize("options", [options for options in OPTIONS if "proj_size" not in options], ids=str)
def test_the_recurrence_as_one_function_equals_that_which_autograd_follows_step_by_step(options, bits, monkeypatch):
    def gradients() -> list[torch.Tensor]:
        layer = lstm(**options)
        layer.bit_widths.set(*bits)
        x = sequence(6, 3, 4).requires_grad_()
        y, (h, c) = layer(x)
        (y.square().sum() + h.sum() + 2 * c.sum()).backward()
        return [y.detach(), x.grad, *(parameter.grad for parameter in layer.parameters()), layer.observed()]

    whole = gradients()
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    torch.testing.assert_close(whole, gradients())


def test_time_steps_get_different_noise():
    layer = lstm()
    layer.bit_widths.set(16, 3)
    x = sequence(1, 3, 4).repeat(2, 1, 1).requires_grad_()
    h = torch.zeros(1, 3, 5, dtype=torch.float64)
    layer.weight_hh_l0.data.zero_()
    y, _ = layer(x, (h, h))
    # With no recurrent weight and only the last cell's share of the loss left out, equal noise would give equal rows.
    y.square().sum().backward()
    assert not torch.equal(x.grad[0], x.grad[1])


def test_evaluation_uses_running_ranges_of_input_and_state():
    layer = lstm(num_layers=2)
    layer.bit_widths.set(8, 8)
    for _ in range(60):
        layer(sequence(7, 3, 4))
    assert {name for name in layer.state_dict() if name.startswith("running_range")} == {
        f"running_range_{part}_l{index}" for part in ("ih", "hh") for index in (0, 1)
    }
    layer.eval()
    exact = lstm(num_layers=2).eval()(sequence(7, 3, 4))[0]
    torch.testing.assert_close(layer(sequence(7, 3, 4))[0], exact, rtol=0, atol=0.05)


def test_a_sequence_without_batch_is_accepted():
    layer = lstm()
    layer.bit_widths.set(8, 8)
    y, (h, c) = layer(sequence(7, 4))
    assert (y.shape, h.shape, c.shape) == ((7, 5), (1, 5), (1, 5))


def test_batch_first_is_the_same_numbers_in_another_layout():
    first, second = lstm(batch_first=True), lstm()
    first.bit_widths.set(5, 8)
    second.bit_widths.set(5, 8)
    x = sequence(7, 3, 4)
    torch.testing.assert_close(first(x.transpose(0, 1))[0].transpose(0, 1), second(x)[0])


def test_a_packed_sequence_is_refused():
    layer = lstm()
    layer.bit_widths.set(8, 8)
    with pytest.raises(TypeError, match="padded"):
        layer(pack_sequence([sequence(3, 4)]))


def test_quantize_model_swaps_an_lstm_and_keeps_its_state_dict():
    model = nn.Sequential(nn.Embedding(10, 4), nn.LSTM(4, 5))
    names = model.state_dict().keys()
    state = quantize_model(model)
    assert state.layers == ["1"]
    assert isinstance(model[1], QuantLSTM)
    assert names < model.state_dict().keys()
    state.set(8, 8)
    model(torch.randint(10, (6, 2)))
    assert state.first_nonfinite() is None
