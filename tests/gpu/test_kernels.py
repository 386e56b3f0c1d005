"""Triton's kernels: the quantiser bit for bit, and products of codes up to the rounding of floats."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
import triton.language as tl
from torch import Tensor, nn

from cpt_core.quant import gpu, native, quantize_model, sbm
from cpt_core.quant.integer import Codes, torch_products, triton_output, triton_products, triton_tuning, triton_weight
from cpt_core.quant.integer import native_products as native_functions
from cpt_core.quant.integer.codes import code_error, code_weight
from cpt_core.quant.integer.native_products import Geometry
from cpt_core.quant.passes import passes
from tests.core import codes
from tests.core.codes import EXACT, FIXED_POINT, input_codes, numbers

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
LARGEST_PRODUCT = 128 * 128
"""Of signed bytes."""
ALL_GRADIENTS = (True, True, True)

levels = partial(codes.levels, device=DEVICE)
random = partial(codes.random, device=DEVICE)


def seed(value: int = 7) -> Tensor:
    return torch.tensor(value, device=DEVICE)


def error(mine: Tensor, exact: Tensor) -> float:
    return float((mine.double() - exact).norm() / exact.norm())


def test_the_kernels_run_here():
    assert gpu.takes(DEVICE)
    assert passes(random(2, 3)).__name__ == "cpt_core.quant.triton_passes"


SHAPES = [(1,), (3, 5), (8, 4, 3, 3), (1, 6, 40), (3, 4, 5), (5000,), (2, 2500)]
"""One element, several groups, more than one block, and both memory formats of images."""


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 7, 8, 16])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_weights_activations_and_errors_equal_the_pytorch_code_bitwise(shape, bits):
    for x in {random(*shape), random(*shape).contiguous()}:
        for function in (
            partial(sbm.quantize_weight, x, bits),
            partial(sbm.quantize_activation, x, bits),
            partial(sbm.gradient, x, levels(bits), None),
            partial(sbm.gradient, x, levels(bits), seed(-0x123456789ABCDEF)),
        ):
            mine = function()
            with native.disabled():
                assert torch.equal(mine, function())


@pytest.mark.parametrize("bits", range(2, 9))
def test_codes_equal_those_of_the_pytorch_code(bits):
    x, weight, errors = random(50, 20), random(6, 5, 3, 3), random(3, 4, 5)
    for code in (
        lambda: input_codes(x, bits),
        lambda: code_weight(weight, levels(bits)),
        lambda: code_error(errors, levels(bits), seed(), None),
    ):
        mine = code()
        with native.disabled():
            assert all(map(torch.equal, mine, code()))


def check_linear(rows: int, k: int, n: int, bits: int) -> None:
    x, w = input_codes(random(rows, k), bits), code_weight(random(n, k), levels(bits))
    g, bias = code_error(random(rows, n, seed=1), levels(bits), seed(), None), random(n)
    y = triton_products.linear(x, w, bias)
    dx, dw, dbias = triton_products.linear_backward(g, rows, x, w, ALL_GRADIENTS)
    inputs, weights, errors = numbers(x), numbers(w), numbers(g)
    assert error(y, inputs @ weights.t() + bias) < EXACT
    assert error(dw, errors.t() @ inputs) < EXACT
    assert error(dbias, errors.sum(0)) < EXACT
    assert error(dx, errors @ weights) < FIXED_POINT
    by_torch = (torch_products.linear(x, w, bias), *torch_products.linear_backward(g, rows, x, w, ALL_GRADIENTS))
    for mine, theirs in zip((y, dx, dw, dbias), by_torch, strict=True):
        assert error(mine, theirs.double()) < 2 * FIXED_POINT


@pytest.mark.parametrize("bits", range(2, 9))
def test_a_linear_layer_and_its_gradients_equal_float64_and_torch(bits):
    check_linear(50, 17, 33, bits)


@pytest.mark.parametrize("sizes", [(1, 1, 1), (5, 3, 4), (64, 64, 64), (97, 70, 66), (1100, 7, 3)], ids=str)
def test_linear_layers_of_every_size(sizes):
    """Below, at and above the sizes of tiles, and more rows than one program sums."""
    check_linear(*sizes, bits=8)


def test_errors_that_have_a_range_for_each_index_of_their_second_dimension():
    # Ranges that differ a hundredfold.
    g = code_error(random(7, 5, 12) * torch.logspace(-2, 0, 5, device=DEVICE)[:, None], levels(8), seed(), None)
    x, w = input_codes(random(35, 9), 6), code_weight(random(12, 9), levels(6))
    flat = g._replace(codes=g.codes.view(-1, 12))
    dx, dw, dbias = triton_products.linear_backward(flat, 1, x, w, ALL_GRADIENTS)
    errors = numbers(g, group_dim=1).view(-1, 12)
    assert error(dx, errors @ numbers(w)) < FIXED_POINT
    assert error(dw, errors.t() @ numbers(x)) < FIXED_POINT
    assert error(dbias, errors.sum(0)) < EXACT


def check_convolution(geometry: Geometry, bits: int) -> None:
    batch, channels, height, width, out_channels, kernel, stride, padding = geometry
    x = input_codes(random(batch, channels, height, width), bits)
    w, bias = code_weight(random(out_channels, channels, kernel, kernel), levels(bits)), random(out_channels)
    g = code_error(random(*geometry.output_shape(), seed=1), levels(bits), seed(), None)
    y = triton_products.convolution(geometry, x, w, bias)
    dx, dw, dbias = triton_products.convolution_backward(geometry, g, x, w, ALL_GRADIENTS)
    inputs, weights = numbers(x).requires_grad_(), numbers(w).requires_grad_()
    exact = F.conv2d(inputs, weights, bias.double(), stride, padding)
    exact.backward(numbers(g))
    assert error(y, exact.detach()) < EXACT
    assert error(dw, weights.grad) < EXACT
    assert error(dbias, numbers(g).sum((0, 2, 3))) < EXACT
    assert error(dx, inputs.grad) < FIXED_POINT
    assert all(t.is_contiguous(memory_format=torch.channels_last) for t in (y, dx, dw))


@pytest.mark.parametrize("bits", range(2, 9))
def test_a_convolution_and_its_gradients_equal_float64(bits):
    check_convolution(Geometry(2, 5, 6, 5, 7, 3, 1, 1), bits)


CONVOLUTIONS = [
    Geometry(2, 6, 9, 7, 5, 3, 2, 1),
    Geometry(2, 5, 7, 7, 4, 1, 1, 0),
    Geometry(2, 5, 8, 8, 4, 1, 2, 0),
    Geometry(1, 3, 7, 7, 4, 5, 2, 2),
    Geometry(1, 66, 3, 3, 3, 3, 1, 1),
    Geometry(2, 4, 6, 6, 8, 2, 2, 0),
    Geometry(1, 4, 7, 7, 8, 3, 3, 2),
    Geometry(5, 2, 15, 15, 3, 1, 1, 0),
]


@pytest.mark.parametrize("geometry", CONVOLUTIONS, ids=str)
def test_convolutions_of_every_kernel_stride_and_padding(geometry):
    check_convolution(geometry, bits=8)


def test_long_sums_are_taken_in_parts_that_fit_into_32_bits(monkeypatch):
    assert triton_tuning.CHUNK * LARGEST_PRODUCT < 2**31
    if DEVICE.type == "cpu":  # in the interpreter so many terms would take minutes
        monkeypatch.setattr(triton_output, "_CHUNK", tl.constexpr(64))
        check_linear(3, 150, 3, bits=8)
        return
    k = 2**17 + 1  # one term more than 32 bits hold, of the largest magnitude and one sign
    codes = torch.zeros((1, k), dtype=torch.uint8, device=DEVICE)
    one = torch.ones((), device=DEVICE)
    y = triton_products.linear(Codes(codes, one, one, levels(8)), Codes(codes, -one[None], one[None], levels(8)), None)
    torch.testing.assert_close(y, torch.full_like(y, -k))


def test_the_pixels_of_a_weights_gradient_are_split_before_their_sum_overflows():
    for pixels in (1, 5000, 70_000, 10**6, 10**8):
        for tiles in (1, 9, 300):
            assert triton_weight._share(pixels, tiles) * LARGEST_PRODUCT < 2**31


def trained_once(layer: nn.Module, x: Tensor, backend: str, bits: int = 6) -> list[Tensor]:
    precision = quantize_model(layer, backend=backend, skip=[])
    assert precision.backends == {backend: [""]}
    precision.set(bits, 8)
    precision.reseed(3)
    x = x.clone(memory_format=torch.preserve_format).requires_grad_()
    y = layer(x)
    y.backward(random(*y.shape, seed=2))
    return [y.detach(), x.grad, *(parameter.grad for parameter in layer.parameters()), *layer.buffers()]


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda: nn.Conv2d(16, 24, 3, 2, 1), (2, 16, 9, 9)),
        (lambda: nn.Conv2d(16, 24, 1, bias=False), (2, 16, 5, 5)),
        (lambda: nn.Linear(16, 24), (4, 16)),
        (lambda: nn.Linear(16, 24), (4, 7, 16)),
    ],
    ids=["3x3", "1x1", "linear", "linear over time"],
)
def test_a_layer_gives_what_it_gives_simulated(make, shape):
    torch.manual_seed(1)
    layer, simulated = make().to(DEVICE), make().to(DEVICE)
    simulated.load_state_dict(layer.state_dict())
    x = random(*shape)
    mine, theirs = trained_once(layer, x, "int8"), trained_once(simulated, x, "simulated")
    for left, right in zip(mine, theirs, strict=True):
        assert torch.equal(left, right) or error(left, right.double()) < 2 * FIXED_POINT


def test_convolutions_have_the_numbers_of_the_functions_in_cpp():
    if not native.available():
        pytest.skip("the C++ functions were not built")
    geometry = Geometry(2, 5, 6, 5, 7, 3, 2, 1)
    x, w = input_codes(random(2, 5, 6, 5), 5), code_weight(random(7, 5, 3, 3), levels(5))
    on_cpu = [Codes(*(part.cpu() for part in codes)) for codes in (x, w)]
    y = triton_products.convolution(geometry, x, w, None)
    assert error(y.cpu(), native_functions.convolution(geometry, *on_cpu, None).double()) < EXACT


def test_an_lstm_is_simulated_on_a_gpu():
    layer = nn.LSTM(8, 8).to(DEVICE)
    backends = quantize_model(layer, backend="int8", skip=[]).backends
    assert backends == ({"simulated": [""]} if DEVICE.type == "cuda" else {"int8": [""]})


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_a_broken_value_goes_through(broken):
    for layer, x in ((nn.Linear(16, 4), random(8, 16)), (nn.Conv2d(2, 4, 3), random(2, 2, 5, 5))):
        layer.to(DEVICE)
        precision = quantize_model(layer, backend="int8", skip=[])
        precision.set(8, 8)
        x[(0,) * x.dim()] = broken
        assert not layer(x).isfinite().all()
        assert precision.first_nonfinite() == ""
