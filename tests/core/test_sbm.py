"""The SBM quantiser against the reference, and what it does where the reference breaks."""

import pytest
import torch
from torch import Tensor

from cpt_core.quant import QuantConv2d, sbm
from tests.core import golden

CASES = sorted(golden.load("quantizers"))


def rounded(prefix: str) -> list[tuple[str, int]]:
    """(case, bits) of every golden result `prefix/case/q{bits}`."""
    keys = [key.split("/") for key in CASES if key.startswith(prefix)]
    return [(case, int(name[1:])) for _, case, name in keys if name[1:].isdigit() and name[0] == "q"]


def q(key: str) -> Tensor:
    return golden.tensor("quantizers", key)


@pytest.mark.parametrize(("case", "bits"), rounded("B/"))
def test_weights_equal_the_reference_bitwise(case, bits):
    assert torch.equal(sbm.quantize_weight(q(f"B/{case}/w"), bits), q(f"B/{case}/q{bits}"))


@pytest.mark.parametrize(("case", "bits"), rounded("D/"))
def test_gradients_rounded_to_nearest_equal_the_reference_bitwise(case, bits):
    assert torch.equal(sbm.quantize_gradient(q(f"D/{case}/g"), bits, stochastic=False), q(f"D/{case}/q{bits}"))


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 7, 8, 16])
def test_activations_equal_the_reference_bitwise(bits):
    assert torch.equal(sbm.quantize_activation(q("A/conv/x0"), bits), q(f"A/conv/ytrain0_b{bits}"))


def conv_layer() -> QuantConv2d:
    layer = QuantConv2d(3, 2, 3)
    layer.bit_widths.set(8, 8)
    return layer


def test_running_range_and_zero_point_follow_the_reference_over_batches_of_different_widths():
    layer = conv_layer()
    for i, bits in enumerate([8, 3, 5, 4, 2]):
        layer.bit_widths.set(bits, 8)
        assert torch.equal(layer.quantize_input(q(f"A/conv/x{i}")), q(f"A/conv/y{i}"))
        assert torch.equal(layer.running_zero_point, q(f"A/conv/zp{i}").view(()))
        assert torch.equal(layer.running_range, q(f"A/conv/range{i}").view(()))
    layer.eval()
    for bits in (2, 3, 4, 5, 6, 7, 8, 16):
        layer.bit_widths.set(bits, 8)
        assert torch.equal(layer.quantize_input(q("A/conv/xeval")), q(f"A/conv/yeval_b{bits}"))


def test_evaluation_before_any_training_uses_the_empty_running_range():
    layer = conv_layer().eval()
    assert torch.equal(layer.quantize_input(q("A/conv/x0")), q("A/conv/eval_untrained_8"))


@pytest.mark.parametrize("bits", [0, 32])
def test_full_precision_returns_the_tensor_itself(bits):
    x = torch.randn(3, 4)
    assert sbm.quantize_weight(x, bits) is x
    assert sbm.quantize_activation(x, bits) is x
    assert sbm.quantize_gradient(x, bits) is x


@pytest.mark.parametrize("bits", [-1, 1, 17, 31, 33])
def test_other_widths_are_refused(bits):
    for quantize in (sbm.quantize_weight, sbm.quantize_activation, sbm.quantize_gradient):
        with pytest.raises(ValueError, match=f"{bits} bits"):
            quantize(torch.randn(3, 4), bits)


@pytest.mark.parametrize("shape", [(0,), (0, 3), (0, 3, 4), (2, 0, 4), (0, 3, 5, 5)])
def test_an_empty_tensor_stays_empty(shape):
    empty = torch.empty(shape)
    for quantize in (sbm.quantize_weight, sbm.quantize_activation, sbm.quantize_gradient):
        assert quantize(empty, 8).shape == shape


@pytest.mark.parametrize("quantize", [sbm.quantize_weight, sbm.quantize_activation])
def test_gradients_pass_straight_through(quantize):
    x = torch.randn(4, 5, requires_grad=True)
    weights = torch.randn(4, 5)
    (quantize(x, 3) * weights).sum().backward()
    assert torch.equal(x.grad, weights)


@pytest.mark.parametrize("quantize", [sbm.quantize_weight, sbm.quantize_activation, sbm.quantize_gradient])
def test_float64_keeps_its_type_and_has_at_most_two_to_the_bits_values(quantize):
    x = torch.randn(1, 4096, dtype=torch.float64)
    rounded = quantize(x, 4)
    assert rounded.dtype == torch.float64
    assert 8 < rounded.unique().numel() <= 16


def test_the_memory_format_does_not_change_the_numbers():
    x = torch.randn(4, 3, 6, 5)
    last = x.to(memory_format=torch.channels_last)
    for quantize in (sbm.quantize_weight, sbm.quantize_activation):
        assert torch.equal(quantize(last, 4), quantize(x, 4))
        assert quantize(last, 4).is_contiguous(memory_format=torch.channels_last)


def test_stochastic_rounding_takes_neighbouring_levels_and_is_unbiased():
    g = torch.linspace(-1, 1, 101, dtype=torch.float64)
    step = 2 / 15
    generator = torch.Generator().manual_seed(1)
    draws = torch.stack([sbm.quantize_gradient(g, 4, generator=generator) for _ in range(4000)])
    assert (draws - g).abs().max() <= step + 1e-12
    # The inner elements: at the ends the clamp leaves no room for noise.
    error = (draws.mean(0) - g)[4:-4]
    assert error.abs().max() < 5 * step / 2 / 4000**0.5


def test_stochastic_rounding_is_a_function_of_the_generator():
    g = torch.randn(1000)
    first, again, other = (
        sbm.quantize_gradient(g, 8, generator=torch.Generator().manual_seed(seed)) for seed in (7, 7, 8)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_value_that_is_not_finite_shows_in_the_observed_range(bad):
    x = torch.randn(3, 4)
    x[1, 2] = bad
    assert not sbm.tensor_range(x)[1].isfinite()


def test_a_range_that_overflows_shows_in_the_observed_range():
    assert not sbm.tensor_range(torch.tensor([3e38, -3e38]))[1].isfinite()
