"""Products of linear layers by oneDNN: the numbers of torch's own, in less time where MKL is slow."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from cpt_core import onednn


def leaves(*shapes):
    return [torch.randn(*shape, requires_grad=True) for shape in shapes]


@pytest.mark.parametrize("has_bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("shape", [(70, 33, 50), (4, 9, 64, 100), (1, 1, 1)], ids=str)
def test_the_result_and_the_gradients_are_those_of_torch(shape, has_bias):
    *rows, k, n = shape
    x, weight, bias = leaves((*rows, k), (n, k), (n,))
    used = [x, weight, *([bias] if has_bias else [])]
    y, expected = onednn.linear(*used), F.linear(*used)
    torch.testing.assert_close(y, expected)
    g = torch.randn_like(y)
    for mine, its in zip(torch.autograd.grad(y, used, g), torch.autograd.grad(expected, used, g), strict=True):
        torch.testing.assert_close(mine, its, atol=1e-4, rtol=1e-4)


def test_a_gradient_that_nobody_wants_is_not_worked_out():
    x, weight = torch.randn(5, 8), torch.randn(4, 8, requires_grad=True)
    onednn.linear(x, weight).sum().backward()
    torch.testing.assert_close(weight.grad, x.sum(0).expand(4, 8))


@pytest.fixture
def taken(monkeypatch):
    """How many products took oneDNN, where it is said to pay."""
    calls = []
    linear = onednn.linear
    monkeypatch.setattr(onednn, "pays", lambda: True)
    monkeypatch.setattr(onednn, "linear", lambda *operands: calls.append(1) or linear(*operands))
    return calls


def test_modules_take_it_within_the_context_alone(taken):
    layer, x = nn.Linear(512, 512), torch.randn(64, 512)
    with onednn.linear_layers():
        inside = layer(x)
        nn.MultiheadAttention(512, 8, batch_first=True)(x[None], x[None], x[None])
    assert len(taken) >= 3  # the layer, and the projections of an attention
    before = len(taken)
    torch.testing.assert_close(layer(x), inside)
    assert len(taken) == before


@pytest.mark.parametrize(
    ("rows", "dtype"), [(2, torch.float32), (64, torch.float64), (64, torch.bfloat16)], ids=["small", "double", "bf16"]
)
def test_what_would_not_gain_is_left_to_torch(taken, rows, dtype):
    with onednn.linear_layers():
        nn.Linear(512, 512, dtype=dtype)(torch.randn(rows, 512, dtype=dtype))
    assert not taken


def test_autocast_is_left_to_torch(taken):
    with onednn.linear_layers(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert nn.Linear(512, 512)(torch.randn(64, 512)).dtype == torch.bfloat16
    assert not taken
