"""The int8 backend: the numbers of the simulated one, from products of codes."""

import shutil

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cpt_core.quant import QuantConv2d, QuantLinear, QuantLSTM, native, quantize_model
from cpt_core.quant.integer import Codes, torch_products
from cpt_core.quant.integer import native_products as native_functions
from cpt_core.quant.integer.codes import code_error, code_weight
from cpt_core.quant.integer.native_products import Geometry
from tests.core.codes import EXACT, FIXED_POINT, input_codes, levels, numbers, random

TIE = 3e-3
"""Relative error against float64 of what has numbers halfway between two of 8-bit fixed point fall to either side."""
NARROW = 1.2e-2
"""Of what takes 8-bit fixed point, of normally distributed weights: 0.7 %, more where a column has few of them."""
SEED = torch.tensor(7)
CHANNELS_LAST = torch.channels_last


@pytest.fixture(autouse=True)
def _built():
    if not native.available() and not any(map(shutil.which, ("c++", "g++", "gcc", "cc"))):
        pytest.skip("this machine has no C++ compiler, so the C++ functions were not built")
    assert native.available(), "cpt_core.quant._native was not built although there is a compiler: make install"


def narrow(weights: Tensor, over: tuple[int, ...]) -> Tensor:
    """In 8-bit fixed point, each index of the dimensions left on a scale of its own."""
    scale = weights.abs().amax(over, keepdim=True) / 127
    return (weights / scale).round() * scale


def error(mine: Tensor, exact: Tensor) -> float:
    return float((mine.double() - exact).norm() / exact.norm())


@pytest.fixture(params=native.INSTRUCTIONS)
def instructions(request):
    """Each that this machine has; plain C++, which all have, runs in the layout of AVX512-VNNI's."""
    with native.products_by(request.param) as there:
        if not there:
            pytest.skip(f"this machine has no {request.param}")
        yield


LINEAR = [(1, 1, 1), (5, 3, 4), (50, 17, 33), (97, 64, 16), (1030, 65, 7), (20, 700, 30)]
"""Rows, inputs, outputs: below, at and above the sizes of tiles, steps and blocks."""


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("sizes", LINEAR, ids=str)
@pytest.mark.parametrize("products", [native_functions, torch_products], ids=["C++", "torch"])
@pytest.mark.usefixtures("instructions")
def test_a_linear_layer_and_its_gradients_equal_float64(products, sizes, bits):
    rows, k, n = sizes
    x, w = input_codes(random(rows, k), bits), code_weight(random(n, k), levels(bits))
    g, bias = code_error(random(rows, n, seed=1), levels(8), SEED, None), random(n)
    y = products.linear(x, w, bias)
    dx, dw, dbias = products.linear_backward(g, rows, x, w, (True, True, True))
    inputs, weights, errors = numbers(x), numbers(w), numbers(g)
    assert error(y, inputs @ weights.t() + bias) < EXACT
    assert error(dw, errors.t() @ inputs) < EXACT
    assert error(dbias, errors.sum(0)) < EXACT
    assert error(dx, errors @ weights) < FIXED_POINT


@pytest.mark.usefixtures("instructions")
@pytest.mark.parametrize("products", [native_functions, torch_products], ids=["C++", "torch"])
@pytest.mark.parametrize("shape", [(7, 5, 12), (64, 3, 40)], ids=str)
def test_errors_that_have_a_range_for_each_index_of_their_second_dimension(products, shape):
    outer, groups, n = shape
    # Ranges that differ a hundredfold.
    g = code_error(random(*shape) * torch.logspace(-2, 0, groups)[:, None], levels(8), SEED, None)
    x, w = input_codes(random(outer * groups, 9), 6), code_weight(random(n, 9), levels(6))
    flat = g._replace(codes=g.codes.view(-1, n))
    dx, dw, dbias = products.linear_backward(flat, 1, x, w, (True, True, True))
    errors = numbers(g, group_dim=1).view(-1, n)
    assert error(dx, errors @ numbers(w)) < FIXED_POINT
    assert error(dw, errors.t() @ numbers(x)) < FIXED_POINT
    assert error(dbias, errors.sum(0)) < EXACT


CONVOLUTIONS = [
    Geometry(3, 3, 8, 8, 5, 3, 1, 1),
    Geometry(4, 6, 9, 7, 17, 3, 2, 1),
    Geometry(5, 16, 8, 8, 16, 3, 1, 1),
    Geometry(2, 5, 7, 7, 4, 1, 1, 0),
    Geometry(2, 5, 8, 8, 4, 1, 2, 0),
    Geometry(2, 3, 23, 23, 8, 7, 2, 3),
    Geometry(3, 4, 6, 6, 8, 5, 1, 2),
    Geometry(1, 33, 5, 5, 40, 3, 1, 0),
    Geometry(2, 4, 6, 6, 8, 2, 2, 0),
    Geometry(2, 4, 7, 7, 8, 3, 3, 2),
]


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 7, 8])
@pytest.mark.parametrize("geometry", CONVOLUTIONS, ids=str)
@pytest.mark.usefixtures("instructions")
def test_a_convolution_and_its_gradients_equal_float64(geometry, bits):
    batch, channels, height, width, out_channels, kernel, stride, padding = geometry
    x = input_codes(random(batch, channels, height, width), bits)
    w, bias = code_weight(random(out_channels, channels, kernel, kernel), levels(bits)), random(out_channels)
    g = code_error(random(*geometry.output_shape(), seed=1), levels(8), SEED, None)
    y = native_functions.convolution(geometry, x, w, bias)
    dx, dw, dbias = native_functions.convolution_backward(geometry, g, x, w, (True, True, True))

    inputs, weights = numbers(x).requires_grad_(), numbers(w).requires_grad_()
    exact = F.conv2d(inputs, weights, bias.double(), stride, padding)
    exact.backward(numbers(g))
    assert error(y, exact.detach()) < EXACT
    assert error(dw, weights.grad) < EXACT
    assert error(dbias, numbers(g).sum((0, 2, 3))) < EXACT
    assert error(dx, inputs.grad) < FIXED_POINT


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("sizes", LINEAR, ids=str)
@pytest.mark.parametrize("products", [native_functions, torch_products], ids=["C++", "torch"])
@pytest.mark.usefixtures("instructions")
def test_a_fast_input_gradient_of_a_linear_layer_has_the_weight_in_8_bits_and_the_others_stay_exact(
    products, sizes, bits
):
    rows, k, n = sizes
    x, w = input_codes(random(rows, k), bits), code_weight(random(n, k), levels(bits))
    g = code_error(random(rows, n, seed=1), levels(8), SEED, None)
    dx, dw, dbias = products.linear_backward(g, rows, x, w, (True, True, True), fast=True)
    weights, errors = numbers(w), numbers(g)
    assert error(dx, errors @ narrow(weights, (0,))) < TIE
    assert error(dx, errors @ weights) < NARROW
    assert error(dw, errors.t() @ numbers(x)) < EXACT
    assert error(dbias, errors.sum(0)) < EXACT


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 7, 8])
@pytest.mark.parametrize("geometry", CONVOLUTIONS, ids=str)
@pytest.mark.usefixtures("instructions")
def test_a_fast_input_gradient_of_a_convolution_has_the_weight_in_8_bits(geometry, bits):
    batch, channels, height, width, out_channels, kernel, stride, padding = geometry
    x = input_codes(random(batch, channels, height, width), bits)
    w = code_weight(random(out_channels, channels, kernel, kernel), levels(bits))
    g = code_error(random(*geometry.output_shape(), seed=1), levels(8), SEED, None)
    dx, dw, _ = native_functions.convolution_backward(geometry, g, x, w, (True, True, False), fast=True)
    slow = native_functions.convolution_backward(geometry, g, x, w, (True, True, False))
    inputs = numbers(x).requires_grad_()
    F.conv2d(inputs, numbers(w), None, stride, padding).backward(numbers(g))
    assert error(dx, inputs.grad) < NARROW
    assert torch.equal(dw, slow[1])
    if stride == 1:  # with others, each phase of pixels has the scales of its own taps
        inputs.grad = None
        F.conv2d(inputs, narrow(numbers(w), (0, 2, 3)), None, stride, padding).backward(numbers(g))
        assert error(dx, inputs.grad) < TIE


@pytest.mark.usefixtures("instructions")
def test_sums_of_the_largest_codes_do_not_overflow():
    """More terms than an int32 can hold, of the largest magnitude and one sign."""
    lowest_and_highest = torch.tensor([0.0, 1.0])
    for rows, k in ((2, 70_000), (70_000, 2)):
        x = Codes(torch.full((rows, k), 255, dtype=torch.uint8), *lowest_and_highest, levels(8))
        w = Codes(torch.zeros(3, k, dtype=torch.uint8), torch.full((3,), -1.0), torch.ones(3), levels(8))
        g = Codes(torch.zeros(rows, 3, dtype=torch.uint8), torch.tensor(-1.0), torch.tensor(1.0), levels(8))
        y = native_functions.linear(x, w, None)
        dx, dw, _ = native_functions.linear_backward(g, rows, x, w, (True, True, False))
        torch.testing.assert_close(y, torch.full_like(y, -k))
        torch.testing.assert_close(dw, torch.full_like(dw, -rows))
        torch.testing.assert_close(dx, torch.full_like(dx, 3.0), rtol=FIXED_POINT, atol=0)
    geometry = Geometry(2, 2, 300, 300, 2, 3, 1, 1)  # a weight's gradient sums over 180,000 pixels
    x = Codes(torch.full((2, 2, 300, 300), 255, dtype=torch.uint8), *lowest_and_highest, levels(8))
    x = x._replace(codes=x.codes.contiguous(memory_format=CHANNELS_LAST))
    w = code_weight(random(2, 2, 3, 3), levels(8))
    g = x._replace(codes=torch.zeros_like(x.codes), low=torch.tensor(-1.0))
    _, dw, _ = native_functions.convolution_backward(geometry, g, x, w, (False, True, False))
    torch.testing.assert_close(dw[:, :, 1, 1], torch.full((2, 2), -180_000.0))


def test_the_result_does_not_depend_on_the_number_of_threads():
    geometry = Geometry(5, 16, 9, 9, 20, 3, 1, 1)
    x, w = input_codes(random(5, 16, 9, 9), 8), code_weight(random(20, 16, 3, 3), levels(8))
    g = code_error(random(*geometry.output_shape()), levels(8), SEED, None)
    rows, weight = input_codes(random(1000, 40), 8), code_weight(random(24, 40), levels(8))
    row_errors = code_error(random(1000, 24), levels(8), SEED, None)
    threads, results = torch.get_num_threads(), []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            results.append(
                [
                    native_functions.convolution(geometry, x, w, None),
                    *native_functions.convolution_backward(geometry, g, x, w, (True, True, True)),
                    native_functions.linear(rows, weight, None),
                    *native_functions.linear_backward(row_errors, 1000, rows, weight, (True, True, True)),
                ]
            )
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        assert all(map(torch.equal, results[0], other))


def trained_once(layer: nn.Module, x: Tensor, backend: str, bits: int = 6) -> list[Tensor]:
    precision = quantize_model(layer, backend=backend, skip=[])
    precision.set(bits, 8)
    precision.reseed(3)
    x = x.clone(memory_format=torch.preserve_format).requires_grad_()
    y = layer(x)
    y.backward(random(*y.shape, seed=2))
    return [y.detach(), x.grad, *(parameter.grad for parameter in layer.parameters()), *layer.buffers()]


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda: QuantConv2d(16, 24, 3, 2, 1), (4, 16, 9, 9)),
        (lambda: QuantConv2d(16, 24, 1, bias=False), (4, 16, 9, 9)),
        (lambda: QuantLinear(16, 24), (4, 16)),
        (lambda: QuantLinear(16, 24), (4, 7, 16)),
    ],
    ids=["3x3", "1x1", "linear", "linear over time"],
)
def test_a_layer_gives_what_it_gives_simulated(make, shape):
    torch.manual_seed(1)
    layer, other = make(), make()
    other.load_state_dict(layer.state_dict())
    x = random(*shape)
    mine = trained_once(layer, x, "int8")
    simulated = trained_once(other, x, "simulated")
    assert len(mine) == len(simulated)
    for left, right in zip(mine, simulated, strict=True):
        assert error(left, right.double()) < 2 * FIXED_POINT or torch.equal(left, right)


@pytest.mark.parametrize("bits", [3, 8])
@pytest.mark.parametrize(("time", "tolerance"), [(1, 2 * FIXED_POINT), (7, 3e-2)])
@pytest.mark.parametrize("options", [{}, {"bidirectional": True, "num_layers": 2}, {"bias": False}], ids=str)
def test_an_lstm_gives_what_it_gives_simulated_but_for_codes_at_the_border_of_two(options, time, tolerance, bits):
    torch.manual_seed(1)
    layer, other = (nn.LSTM(12, 20, **options) for _ in range(2))
    other.load_state_dict(layer.state_dict())
    results = []
    for module, backend in ((layer, "int8"), (other, "simulated")):
        precision = quantize_model(module, backend=backend, skip=[])
        precision.set(bits, 8)
        precision.reseed(3)
        x = random(time, 5, 12).requires_grad_()
        y, (hidden, cell) = module(x)
        (y * random(*y.shape, seed=2)).sum().add(cell.sum()).backward()
        results.append([y.detach(), hidden.detach(), x.grad, *(parameter.grad for parameter in module.parameters())])
        results[-1].extend(module.buffers())
    assert len(results[0]) == len(results[1])
    for left, right in zip(*results, strict=True):
        assert torch.equal(left, right) or error(left, right.double()) < tolerance


def test_attention_gives_what_it_gives_simulated_but_for_codes_at_the_border_of_two():
    torch.manual_seed(1)
    layer, other = (nn.MultiheadAttention(16, 2, batch_first=True) for _ in range(2))
    other.load_state_dict(layer.state_dict())
    results = []
    for module, backend in ((layer, "int8"), (other, "simulated")):
        precision = quantize_model(module, backend=backend, skip=[])
        precision.set(6, 8)
        precision.reseed(3)
        x, key = random(4, 7, 16).requires_grad_(), random(4, 7, 16, seed=1)
        y, _ = module(x, key, key)
        y.backward(random(4, 7, 16, seed=2))
        results.append([y.detach(), x.grad, *(parameter.grad for parameter in module.parameters())])
        for name in ("_q", "_k", "_out"):  # the value is the key, and rounded once
            results[-1].append(module.get_buffer(f"running_range{name}"))
    for left, right in zip(*results, strict=True):
        assert error(left, right.double()) < 1e-2


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda: nn.Conv2d(16, 24, 3, 2, 1), (4, 16, 9, 9)),
        (lambda: nn.Linear(16, 24), (4, 7, 16)),
        (lambda: nn.LSTM(16, 24), (1, 5, 16)),
        (lambda: nn.MultiheadAttention(16, 2), (4, 5, 16)),
    ],
    ids=["convolution", "linear", "LSTM", "attention"],
)
def test_fast_input_gradients_change_these_alone_and_little(make, shape):
    results = []
    for how in ("exact", "fast"):
        torch.manual_seed(1)
        layer = make()
        precision = quantize_model(layer, backend="int8", input_gradient=how, skip=[])
        precision.set(8, 8)
        precision.reseed(3)
        x = random(*shape).requires_grad_()
        y = layer(x, x, x)[0] if isinstance(layer, nn.MultiheadAttention) else layer(x)
        y = y[0] if isinstance(y, tuple) else y
        y.backward(random(*y.shape, seed=2))
        results.append((y.detach(), x.grad))
    (exact_y, exact_dx), (fast_y, fast_dx) = results
    assert torch.equal(exact_y, fast_y)
    assert not torch.equal(exact_dx, fast_dx)
    assert error(fast_dx, exact_dx.double()) < 3e-2  # attention has two such products in a row, and errors of 8 bits


def test_what_is_kept_for_the_backward_pass_is_a_byte_an_element():
    layer = QuantLinear(400, 300)
    quantize_model(layer, backend="int8", skip=[]).set(8, 8)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
        layer(random(200, 400))
    # The codes of the input, and a range for each of the 300 outputs; those of the weight are made again.
    others = [x for x in kept if x.data_ptr() != layer.weight.data_ptr()]
    assert len(others) < len(kept)
    assert sum(x.numel() * x.element_size() for x in others) < 1.05 * (200 * 400 + 2 * 4 * 300)


@pytest.mark.parametrize("kind", ["linear", "lstm"])
def test_a_weight_that_changes_before_the_backward_pass_is_an_error(kind):
    layer = QuantLinear(6, 5) if kind == "linear" else QuantLSTM(6, 5)
    quantize_model(layer, backend="int8", skip=[]).set(8, 8)
    y = layer(random(3, 2, 6))
    with torch.no_grad():
        layer.quantized_weights()[0].mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        (y if kind == "linear" else y[0]).sum().backward()


def test_the_default_type_of_new_tensors_does_not_matter():
    torch.manual_seed(1)
    layers = [(QuantLinear(16, 24), random(4, 16)), (QuantConv2d(2, 4, 3), random(2, 2, 5, 5))]
    torch.set_default_dtype(torch.float64)
    try:
        for layer, x in layers:
            y_and_gradients = trained_once(layer, x, "int8")[:4]
            assert {result.dtype for result in y_and_gradients} == {torch.float32}
    finally:
        torch.set_default_dtype(torch.float32)


def test_wider_steps_and_other_types_are_simulated():
    torch.manual_seed(1)
    layer = QuantLinear(16, 24)
    precision = quantize_model(layer, backend="int8", skip=[])
    for forward, backward, integers in ((8, 8, True), (9, 8, False), (8, 9, False), (8, 32, False), (2, 2, True)):
        precision.set(forward, backward)
        assert layer.on_codes(random(2, 16)) is integers
    precision.set(8, 8)
    assert not layer.on_codes(random(2, 16).double())
    assert not layer.on_codes(random(0, 16))


def test_convolutions_and_lstms_that_are_not_on_the_cpu_are_simulated():
    for layer, shape in ((nn.Conv2d(8, 8, 3), (2, 8, 5, 5)), (nn.LSTM(8, 8), (3, 2, 8))):
        quantize_model(layer, backend="int8", skip=[]).set(8, 8)
        y = layer.to("meta")(torch.empty(shape, device="meta"))
        assert (y if isinstance(y, Tensor) else y[0]).is_meta


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_a_broken_value_goes_through(broken):
    for layer, x in ((QuantLinear(16, 4), random(8, 16)), (QuantConv2d(2, 4, 3), random(2, 2, 5, 5))):
        precision = quantize_model(layer, backend="int8", skip=[])
        precision.set(8, 8)
        x[(0,) * x.dim()] = broken
        assert not layer(x).isfinite().all()
        assert precision.first_nonfinite() == ""


def test_layers_whose_products_cannot_run_on_codes_are_simulated():
    model = nn.ModuleDict(
        {
            "grouped": nn.Conv2d(8, 8, 3, groups=8),
            "dilated": nn.Conv2d(8, 8, 3, dilation=2),
            "oblong": nn.Conv2d(8, 8, (1, 3)),
            "reflecting": nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect"),
            "named": nn.Conv2d(8, 8, 3, padding="same"),
            "projected": nn.LSTM(8, 8, proj_size=4),
            "plain": nn.Conv2d(8, 8, 3, padding=1),
            "linear": nn.Linear(8, 8),
        }
    )
    backends = quantize_model(model, backend="int8", skip=[]).backends
    assert backends["int8"] == ["plain", "linear"]
    assert len(backends["simulated"]) == 6


def test_auto_leaves_short_sums_to_the_simulation():
    model = nn.ModuleDict({"stem": nn.Conv2d(3, 16, 3), "body": nn.Conv2d(16, 16, 3), "head": nn.Linear(16, 10)})
    backends = quantize_model(model, backend="auto", skip=[]).backends
    if native.instructions() == "none":
        assert backends == {"simulated": ["stem", "body", "head"]}
    else:
        assert backends == {"simulated": ["stem", "head"], "int8": ["body"]}


def test_the_other_quantizers_are_simulated_and_int8_says_so():
    with pytest.raises(ValueError, match="backend 'int8' takes the quantizer 'sbm', not 'dorefa'"):
        quantize_model(nn.Sequential(nn.Linear(80, 8)), quantizer="dorefa", backend="int8", skip=[])
    precision = quantize_model(nn.Sequential(nn.Linear(80, 8)), quantizer="dorefa", backend="auto", skip=[])
    assert precision.backends == {"simulated": ["0"]}


def test_without_the_functions_in_cpp_linear_layers_still_run_on_codes():
    torch.manual_seed(1)
    layer, other = QuantLinear(16, 24), QuantLinear(16, 24)
    other.load_state_dict(layer.state_dict())
    x = random(4, 16)
    with native.disabled():
        mine = trained_once(layer, x, "int8")
    for left, right in zip(mine, trained_once(other, x, "int8"), strict=True):
        assert error(left, right.double()) < FIXED_POINT or torch.equal(left, right)


def test_matrices_on_a_gpu_are_padded_to_what_its_products_take():
    padded = torch_products._padded(torch.ones(5, 9, dtype=torch.int8), rows=17)
    assert padded.shape == (24, 16)
    assert padded.sum() == 45


@pytest.mark.parametrize("dims", [2, 3, 4])
def test_the_output_of_a_product_can_be_changed_in_place(dims):
    """As torchvision's classifiers do."""
    torch.manual_seed(1)
    x = random(*(2, 3, 5, 8)[-dims:])
    results = []
    for inplace in (False, True):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(inplace), nn.Linear(16, 4))
        quantize_model(model, backend="int8", skip=[]).set(8, 8)
        y = model(x)
        y.square().sum().backward()
        results.append([y, *(parameter.grad for parameter in model.parameters())])
    assert all(map(torch.equal, *results))
