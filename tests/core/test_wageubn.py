"""The WAGEUBN quantiser, against the definitions of arXiv 1909.02384 written out."""

import math

import pytest
import torch

from cpt_core.quant import wageubn


def direct(x: torch.Tensor, bits: int) -> torch.Tensor:
    return torch.round(x * 2 ** (bits - 1)) / 2 ** (bits - 1)


@pytest.mark.parametrize("bits", [2, 4, 8, 16])
def test_weights_are_rounded_to_a_fixed_grid_and_clipped_inside_one(bits):
    w = torch.linspace(-1.5, 1.5, 501, dtype=torch.float64)
    bound = 1 - 2.0 ** (1 - bits)
    torch.testing.assert_close(wageubn.quantize_weight(w, bits), direct(w, bits).clamp(-bound, bound))


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_activations_are_rounded_to_the_grid_and_not_clipped(bits):
    x = torch.linspace(-3, 5, 501, dtype=torch.float64)
    torch.testing.assert_close(wageubn.quantize_activation(x, bits), direct(x, bits))


@pytest.mark.parametrize("largest", [1e-6, 0.003, 0.75, 1.0, 40.0])
def test_errors_are_scaled_by_the_power_of_two_nearest_their_largest(largest):
    g = torch.randn(4, 50, dtype=torch.float64)
    g *= largest / g.abs().max()
    scale, bound = 2.0 ** round(math.log2(largest)), 1 - 2.0**-7
    expected = scale * direct(g / scale, 8).clamp(-bound, bound)
    torch.testing.assert_close(wageubn.quantize_gradient(g, 8), expected)


def test_small_errors_become_zero():
    g = torch.tensor([1.0, 1e-4, -1e-4, 0.0])
    assert wageubn.quantize_gradient(g, 8).tolist() == [1 - 2**-7, 0, 0, 0]


@pytest.mark.parametrize("quantize", [wageubn.quantize_weight, wageubn.quantize_activation])
def test_gradients_pass_straight_through(quantize):
    x = torch.randn(4, 5, requires_grad=True)
    quantize(x, 4).sum().backward()
    assert torch.equal(x.grad, torch.ones(4, 5))


def test_zeros_stay_zeros():
    zeros = torch.zeros(3, 4)
    for quantize in (wageubn.quantize_weight, wageubn.quantize_activation, wageubn.quantize_gradient):
        assert torch.equal(quantize(zeros, 4), zeros)
