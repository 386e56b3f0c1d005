"""The DoReFa quantiser, against the equations of arXiv 1606.06160 written out."""

import pytest
import torch

from cpt_core.quant import dorefa


def unit(r: torch.Tensor, bits: int) -> torch.Tensor:
    """quantize_k of the paper's equation 5."""
    return torch.round((2**bits - 1) * r) / (2**bits - 1)


@pytest.mark.parametrize("bits", [2, 4, 8, 16])
def test_weights_follow_equation_9(bits):
    w = torch.randn(6, 4, 3, 3, dtype=torch.float64)
    t = torch.tanh(w)
    expected = 2 * unit(t / (2 * t.abs().max()) + 0.5, bits) - 1
    torch.testing.assert_close(dorefa.quantize_weight(w, bits), expected)


def test_the_gradient_of_a_weight_is_that_of_the_smooth_function_around_the_rounding():
    w = torch.randn(5, 7, dtype=torch.float64, requires_grad=True)
    smooth = w.detach().clone().requires_grad_()
    g = torch.randn(5, 7, dtype=torch.float64)
    dorefa.quantize_weight(w, 3).backward(g)
    (torch.tanh(smooth) / torch.tanh(smooth).abs().max()).backward(g)
    torch.testing.assert_close(w.grad, smooth.grad)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_activations_are_clipped_to_the_unit_interval_and_rounded(bits):
    x = torch.linspace(-1, 2, 300, dtype=torch.float64, requires_grad=True)
    y = dorefa.quantize_activation(x, bits)
    torch.testing.assert_close(y, unit(x.clamp(0, 1), bits))
    y.sum().backward()
    inside = (x > 0) & (x < 1)
    assert torch.equal(x.grad, inside.double())


@pytest.mark.parametrize(("shape", "others"), [((4, 9), [1]), ((4, 3, 5, 5), [1, 2, 3]), ((3, 4, 9), [0, 2])])
def test_errors_follow_equation_12_with_one_range_per_sample(shape, others):
    g = torch.randn(shape, dtype=torch.float64)
    scale = 2 * g.abs().amax(others, keepdim=True)
    expected = scale * (unit(g / scale + 0.5, 4) - 0.5)
    torch.testing.assert_close(dorefa.quantize_gradient(g, 4, stochastic=False), expected)


def test_stochastic_errors_are_unbiased():
    g = torch.linspace(-0.9, 0.9, 51, dtype=torch.float64).repeat(1, 1)
    g[0, 0] = 1.0
    generator = torch.Generator().manual_seed(1)
    draws = torch.stack([dorefa.quantize_gradient(g, 4, generator=generator) for _ in range(3000)])
    assert (draws.mean(0) - g)[:, 1:].abs().max() < 5 * (2 / 15) / 2 / 3000**0.5


def test_zeros_stay_finite():
    zeros = torch.zeros(3, 4)
    for quantize in (dorefa.quantize_weight, dorefa.quantize_activation, dorefa.quantize_gradient):
        assert quantize(zeros, 4).isfinite().all()
