"""The recurrence of a quantised LSTM: a time step in C++ against PyTorch, and what it makes of states and gradients."""

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from cpt_core.quant import QuantLSTM, gates, native, recurrence

needs_cpp = pytest.mark.skipif(not native.available(), reason="the C++ functions were not built")
# Beyond which functions change no more, and in between, where sigmoid and tanh take other branches.
ARGUMENTS = torch.cat([torch.linspace(-120, 120, 1001), torch.linspace(-3, 3, 1001), torch.tensor([0.0, -0.0, 1e-30])])


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def step(product: Tensor, from_input: Tensor, cell_before: Tensor) -> list[Tensor]:
    states = [torch.empty_like(cell_before) for _ in range(3)]
    activated = torch.empty_like(product)
    gates.step(product, from_input, activated, cell_before, *states)
    return [activated, *states]


def step_back(batch: int, units: int) -> list[Tensor]:
    activated, cell, squashed, d_hidden, d_cell = (random(batch, n * units, seed=n) for n in (4, 1, 1, 1, 1))
    errors, d_cell = torch.empty_like(activated), d_cell.clone()
    gates.step_back(errors, activated.sigmoid(), cell, squashed.tanh(), d_hidden, d_cell)
    return [errors, d_cell]


def lstm(**options) -> QuantLSTM:
    torch.manual_seed(0)
    layer = QuantLSTM(6, 11, 2, **options)
    layer.bit_widths.set(16, 16)
    return layer


def results(layer: QuantLSTM) -> list[Tensor]:
    """Output, states, gradients and ranges; the gradient of the output comes with its dimensions in another order."""
    x = random(5, 3, 6).requires_grad_()
    y, (h, c) = layer(x)
    ((y.permute(2, 0, 1) * random(y.shape[2], 5, 3, seed=1)).sum() + h.sum() + 2 * c.sum()).backward()
    return [y.detach(), h, c, x.grad, *(parameter.grad for parameter in layer.parameters()), layer.observed()]


@pytest.fixture
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@needs_cpp
@pytest.mark.parametrize("gate", range(4), ids=["input", "forget", "cell", "output"])
def test_a_gate_in_cpp_is_within_a_few_units_in_the_last_place(gate):
    product = torch.zeros(1, 4, len(ARGUMENTS))
    product[0, gate] = ARGUMENTS
    activated, *_ = step(product.flatten(1), torch.zeros(1, product[0].numel()), torch.zeros(1, len(ARGUMENTS)))
    function = torch.tanh if gate == 2 else torch.sigmoid
    got = activated.view(4, -1)[gate].double()
    torch.testing.assert_close(got, function(ARGUMENTS.double()), rtol=3e-7, atol=2e-38)


@needs_cpp
def test_a_step_in_cpp_gives_the_states_that_pytorch_gives():
    arguments = (3 * random(7, 4 * 37), random(7, 4 * 37, seed=1), 4 * random(7, 37, seed=2))
    with native.disabled():
        expected = step(*arguments)
    torch.testing.assert_close(step(*arguments), expected, rtol=2e-6, atol=5e-7)


@needs_cpp
def test_infinity_saturates_a_gate_and_nan_stays_in_both_forms():
    product = torch.tensor([[float("inf"), float("-inf"), float("nan")] * 4])
    arguments = (product, torch.zeros_like(product), torch.ones(1, 3))
    with native.disabled():
        expected = step(*arguments)
    torch.testing.assert_close(step(*arguments), expected, equal_nan=True)


@needs_cpp
@pytest.mark.parametrize(("batch", "units"), [(1, 1), (3, 37), (40, 500)])
def test_a_step_back_in_cpp_equals_pytorchs_bitwise(batch, units):
    with native.disabled():
        expected = step_back(batch, units)
    assert all(map(torch.equal, step_back(batch, units), expected))


@needs_cpp
@pytest.mark.usefixtures("_threads")
@pytest.mark.parametrize(
    "run",
    [lambda: step(random(40, 2000), random(40, 2000, seed=1), random(40, 500)), lambda: step_back(40, 500)],
    ids=["forward", "back"],
)
def test_a_step_does_not_depend_on_the_number_of_threads(run: Callable[[], list[Tensor]]):
    torch.set_num_threads(1)
    alone = run()
    torch.set_num_threads(3)
    assert all(map(torch.equal, run(), alone))


@needs_cpp
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("options", [{}, {"bidirectional": True}, {"bias": False}], ids=str)
def test_a_layer_gives_the_same_with_and_without_cpp(options, training):
    layer, other = lstm(**options), lstm(**options)
    for either in (layer, other):
        either(3 * random(5, 3, 6))
        either.train(training)
    with native.disabled():
        expected = results(other)
    # A last bit can move a hidden state or an error by one of 65,535 steps.
    torch.testing.assert_close(results(layer), expected, rtol=0, atol=2e-3)


@pytest.mark.parametrize("cpp", [pytest.param(True, marks=needs_cpp), False], ids=["C++", "PyTorch"])
def test_a_broken_hidden_state_shows_in_its_range(cpp, monkeypatch):
    monkeypatch.setattr(native, "_enabled", cpp)
    layer = lstm()
    layer.weight_ih_l0.data[25, 0] = float("nan")
    layer(random(5, 3, 6))
    assert layer.running_range_ih_l0.isfinite()
    assert layer.running_range_hh_l0.isnan()


@pytest.mark.parametrize("units", [16, 260], ids=["small", "packed"])
def test_the_product_of_a_time_step_is_that_of_matrices_with_weights_of_any_layout(units):
    assert (4 * units**2 >= recurrence.PACKED_FROM) == (units == 260)
    weight, x, error = random(4 * units, units), random(3, units, seed=1), random(3, 4 * units, seed=2)
    torch.testing.assert_close(recurrence._product(weight, 3)(x), x @ weight.t(), rtol=0, atol=1e-4)
    torch.testing.assert_close(recurrence._product(weight.t(), 3)(error), error @ weight, rtol=0, atol=1e-3)


@pytest.mark.parametrize("wrong", [0, 1], ids=["hidden", "cell"])
def test_a_state_of_another_batch_size_is_refused(wrong):
    states = [torch.zeros(2, 3, 11), torch.zeros(2, 3, 11)]
    states[wrong] = states[wrong][:, :1]
    with pytest.raises(RuntimeError, match=rf"hx\[{wrong}\] of size \(2, 3, 11\), got \[2, 1, 11\]"):
        lstm()(random(5, 3, 6), tuple(states))
