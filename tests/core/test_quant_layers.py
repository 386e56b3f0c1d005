"""QuantConv2d and QuantLinear: against the reference, and as drop-in parts of a torch model."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cpt_core.quant import QuantConv2d, QuantLinear, sbm
from tests.core import golden

GEOMETRIES = {
    "k3s1": {"kernel_size": 3, "padding": 1},
    "k1s1": {"kernel_size": 1},
    "k1s2": {"kernel_size": 1, "stride": 2},
    "k3s1g2": {"kernel_size": 3, "padding": 1, "groups": 2},
}
RUNS = sorted({tuple(key.split("/")[:2]) for key in golden.load("qconv") if key.count("/") == 2})


def conv_like(geometry: str) -> QuantConv2d:
    weight = golden.tensor("qconv", f"{geometry}/w")
    options = GEOMETRIES[geometry]
    layer = QuantConv2d(weight.shape[1] * options.get("groups", 1), weight.shape[0], bias=False, **options)
    layer.weight.data = weight
    layer.bit_widths.stochastic = False
    return layer


def assert_close(actual: Tensor, expected: Tensor, tolerance: float) -> None:
    assert (actual - expected).abs().max() <= tolerance * expected.abs().max()


@pytest.mark.parametrize(("geometry", "run"), RUNS)
def test_conv_equals_the_reference(geometry, run):
    def expected(name: str) -> Tensor:
        return golden.tensor("qconv", f"{geometry}/{run}/{name}")

    forward_bits, backward_bits = (int(part) for part in run[1:].split("g"))
    tolerance = 5e-5 if backward_bits == 16 else 2e-6
    layer = conv_like(geometry)
    layer.bit_widths.set(forward_bits, backward_bits)
    x = golden.tensor("qconv", f"{geometry}/x").requires_grad_()
    y = layer(x)
    y.backward(golden.tensor("qconv", f"{geometry}/gout"))
    assert_close(y, expected("y"), tolerance)
    assert_close(x.grad, expected("gx"), tolerance)
    assert_close(layer.weight.grad, expected("gw"), tolerance)
    assert layer.running_zero_point == expected("running_zero_point").view(())
    assert layer.running_range == expected("running_range").view(())
    layer.eval()
    assert_close(layer(golden.tensor("qconv", f"{geometry}/xeval")), expected("y_eval"), tolerance)
    if forward_bits == 0:
        layer.bit_widths.set(8, 8)
        y_eval = layer(golden.tensor("qconv", f"{geometry}/xeval"))
        assert_close(y_eval, expected("y_eval8_with_untouched_stats"), tolerance)


def test_linear_computes_both_gradients_from_the_rounded_output_gradient():
    layer = QuantLinear(12, 10, dtype=torch.float64)
    layer.bit_widths.set(4, 6)
    layer.bit_widths.stochastic = False
    x = torch.randn(7, 12, dtype=torch.float64, requires_grad=True)
    g = torch.randn(7, 10, dtype=torch.float64)
    y = layer(x)
    y.backward(g)
    xq, wq = sbm.quantize_activation(x.detach(), 4), sbm.quantize_weight(layer.weight.detach(), 4)
    gq = sbm.quantize_gradient(g, 6, stochastic=False)
    torch.testing.assert_close(y, xq @ wq.T + layer.bias)
    torch.testing.assert_close(x.grad, gq @ wq)
    torch.testing.assert_close(layer.weight.grad, gq.T @ xq)
    torch.testing.assert_close(layer.bias.grad, gq.sum(0))


def test_conv_with_a_bias_adds_it_in_full_precision():
    layer = QuantConv2d(3, 4, 3, bias=True)
    layer.bit_widths.set(4, 8)
    x = torch.randn(2, 3, 8, 8)
    y = layer(x)
    y.sum().backward()
    expected = F.conv2d(sbm.quantize_activation(x, 4), sbm.quantize_weight(layer.weight, 4), layer.bias)
    torch.testing.assert_close(y, expected)
    assert layer.bias.grad is not None


@pytest.mark.parametrize(
    ("quantized", "parent", "args", "shape"),
    [
        (QuantConv2d, nn.Conv2d, (3, 4, 3), (2, 3, 8, 8)),
        (QuantLinear, nn.Linear, (6, 5), (2, 6)),
    ],
)
def test_in_full_precision_a_layer_is_its_torch_parent(quantized, parent, args, shape):
    torch.manual_seed(0)
    expected = parent(*args)
    torch.manual_seed(0)
    layer = quantized(*args)
    parameters = {name: value for name, value in layer.state_dict().items() if not name.startswith("running_")}
    assert parameters.keys() == expected.state_dict().keys()
    x = torch.randn(shape)
    assert torch.equal(layer(x), expected(x))


def test_the_state_dict_adds_only_the_running_range():
    added = QuantConv2d(3, 4, 3).state_dict().keys() - nn.Conv2d(3, 4, 3).state_dict().keys()
    assert added == {"running_zero_point", "running_range"}


def test_conv_keeps_its_padding_mode():
    layer = QuantConv2d(2, 2, 3, padding=1, padding_mode="circular", bias=False)
    layer.bit_widths.set(8, 8)
    x = torch.randn(1, 2, 5, 5)
    padded = F.pad(sbm.quantize_activation(x, 8), (1, 1, 1, 1), mode="circular")
    torch.testing.assert_close(layer(x), F.conv2d(padded, sbm.quantize_weight(layer.weight, 8)))


@pytest.mark.parametrize(("layer", "shape"), [(QuantConv2d(3, 4, 3), (0, 3, 8, 8)), (QuantLinear(6, 5), (0, 6))])
def test_an_empty_batch_gives_an_empty_output_and_leaves_the_running_range_alone(layer, shape):
    layer.bit_widths.set(8, 8)
    y = layer(torch.randn(shape, requires_grad=True))
    y.sum().backward()
    assert y.shape[0] == 0
    assert layer.running_range == 0
    assert torch.equal(layer.weight.grad, torch.zeros_like(layer.weight))


def test_changing_the_widths_between_forward_and_backward_is_an_error():
    layer = QuantLinear(6, 5)
    layer.bit_widths.set(8, 8)
    y = layer(torch.randn(2, 6))
    layer.bit_widths.set(4, 4)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_channels_last_gives_the_same_result_to_rounding():
    layer = QuantConv2d(8, 16, 3, padding=1)
    layer.bit_widths.set(5, 32)
    x = torch.randn(2, 8, 9, 9)
    torch.testing.assert_close(layer(x.to(memory_format=torch.channels_last)), layer(x))
