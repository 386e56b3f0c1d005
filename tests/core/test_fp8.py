"""The fp8 backend: products of codes as 8-bit floats, by `torch._scaled_mm` itself."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cpt_core.quant import BackendError, quantize_model
from cpt_core.quant.integer import fp8_products
from cpt_core.quant.integer.codes import code_weight
from tests.core.codes import EXACT, input_codes, levels, numbers, random

CPU = torch.device("cpu")
CODED = [6, 7, 8]
"""Bits whose codes e4m3 rounds."""


def error(mine: Tensor, exact: Tensor) -> float:
    return float((mine.detach().double() - exact.double()).norm() / exact.double().norm())


def e4m3(x: Tensor) -> Tensor:
    """Integers, rounded to four significant bits, half to even."""
    mantissa, exponent = torch.frexp(x.double())
    return torch.ldexp((mantissa * 16).round() / 16, exponent)


@pytest.mark.parametrize("bits", range(2, 6))
@pytest.mark.parametrize("sizes", [(1, 1, 1), (5, 3, 4), (50, 17, 33), (20, 1030, 7)], ids=str)
def test_up_to_5_bits_a_product_equals_float64(sizes, bits):
    rows, k, n = sizes
    x, w, bias = input_codes(random(rows, k), bits), code_weight(random(n, k, seed=1), levels(bits)), random(n)
    y = fp8_products.linear(x, w, bias)
    assert y.dtype == torch.float32
    assert error(y, numbers(x) @ numbers(w).t() + bias) < EXACT


@pytest.mark.parametrize("bits", CODED)
@pytest.mark.parametrize("shift", [0.0, 3.0], ids=["around zero", "far from it"])
def test_wider_codes_are_rounded_to_four_significant_bits_counted_from_the_code_of_zero(bits, shift):
    x, w = input_codes(random(40, 64) + shift, bits), code_weight(random(24, 64, seed=1), levels(bits))

    def rounded(codes) -> Tensor:
        low, scale = (part.double().reshape(-1, 1) for part in (codes.low, codes.scale))
        zero = (-low / scale).round().clamp(0, 2**bits - 1)
        return e4m3(codes.codes - zero) * scale + (low + zero * scale)

    y = fp8_products.linear(x, w, None)
    assert error(y, rounded(x) @ rounded(w).t()) < EXACT
    assert EXACT < error(y, numbers(x) @ numbers(w).t()) < 2.0**-4


def trained_once(layer: nn.Module, backend: str, x: Tensor, bits: int) -> list[Tensor]:
    """The output, the gradients of input and parameters, and the observed ranges."""
    precision = quantize_model(layer, backend=backend, skip=[])
    precision.set(bits, 8)
    precision.reseed(3)
    x = x.clone(memory_format=torch.preserve_format).requires_grad_()
    y = layer(x, x, x)[0] if isinstance(layer, nn.MultiheadAttention) else layer(x)
    y.backward(random(*y.shape, seed=2))
    return [y.detach(), x.grad, *(parameter.grad for parameter in layer.parameters()), *layer.buffers()]


LAYERS = {
    "linear": (lambda: nn.Linear(16, 24), (40, 16)),
    "linear over time": (lambda: nn.Linear(16, 24), (4, 7, 16)),
    "1x1 convolution": (lambda: nn.Conv2d(16, 24, 1), (2, 16, 5, 6)),
}


def twins(make) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(1)
    mine, theirs = make(), make()
    theirs.load_state_dict(mine.state_dict())
    return mine, theirs


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize(("make", "shape"), LAYERS.values(), ids=LAYERS.keys())
def test_a_layer_gives_what_it_gives_in_integers_but_for_the_output_above_5_bits(make, shape, bits):
    mine, theirs = twins(make)
    x = random(*shape)
    (y, *rest), (exact_y, *exact_rest) = trained_once(mine, "fp8", x, bits), trained_once(theirs, "int8", x, bits)
    assert error(y, exact_y) < (EXACT if bits <= 5 else 2.0**-4)
    # The gradients' products are those of the int8 backend; ranges are of the input alone.
    for left, right in zip(rest, exact_rest, strict=True):
        assert torch.equal(left, right) or error(left, right) < EXACT


@pytest.mark.parametrize("bits", [4, 8])
def test_attention_multiplies_its_projections_so(bits):
    mine, theirs = twins(lambda: nn.MultiheadAttention(32, 2, batch_first=True))
    x = random(4, 7, 32)
    y, dx, *_ = trained_once(mine, "fp8", x, bits)
    exact_y, exact_dx, *_ = trained_once(theirs, "simulated", x, bits)
    assert 0 < error(y, exact_y) < (0.02 if bits == 4 else 0.2)  # codes of the output's input fall to either side
    assert error(dx, exact_dx) < (0.05 if bits == 4 else 0.3)


def test_evaluation_takes_the_running_range():
    layer = nn.Linear(16, 24)
    precision = quantize_model(layer, backend="fp8", skip=[])
    precision.set(4, 8)
    layer(random(40, 16))
    narrow = layer.eval()(random(40, 16))
    quantize_model(layer, backend="simulated", skip=[]).set(4, 8)
    assert error(narrow, layer(random(40, 16)).detach()) < EXACT


def losses(backend: str, bits: int, steps: int = 60) -> list[float]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4))
    precision = quantize_model(model, backend=backend)
    precision.set(bits, 8)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    generator = torch.Generator().manual_seed(1)
    teacher = torch.randn(32, 4, generator=generator)
    made = []
    for step in range(steps):
        precision.reseed(step)
        x = torch.randn(64, 32, generator=generator)
        loss = F.cross_entropy(model(x), (x @ teacher).argmax(1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        made.append(loss.item())
    return made


@pytest.mark.parametrize("bits", [4, 8])
def test_a_training_goes_as_the_simulated_one(bits):
    mine, simulated = losses("fp8", bits), losses("simulated", bits)
    assert mine[0] == pytest.approx(simulated[0], rel=1e-4 if bits == 4 else 2e-2)
    last, simulated_last = (sum(curve[-15:]) / 15 for curve in (mine, simulated))
    assert last < 0.6 * mine[0]
    assert last == pytest.approx(simulated_last, rel=0.15)


def test_a_step_taken_again_is_the_same_to_the_last_bit():
    assert losses("fp8", 8, steps=5) == losses("fp8", 8, steps=5)


def test_what_is_kept_for_the_backward_pass_is_a_byte_an_element():
    layer = nn.Linear(400, 300)
    quantize_model(layer, backend="fp8", skip=[]).set(8, 8)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
        layer(random(200, 400))
    others = [x for x in kept if x.data_ptr() != layer.weight.data_ptr()]
    assert sum(x.numel() * x.element_size() for x in others) < 1.05 * (200 * 400 + 2 * 4 * 300)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_a_broken_value_goes_through(broken, bits):
    layer, x = nn.Linear(16, 4), random(8, 16)
    precision = quantize_model(layer, backend="fp8", skip=[])
    precision.set(bits, 8)
    x[0, 0] = broken
    assert not layer(x).isfinite().all()
    assert precision.first_nonfinite() == ""


def test_layers_whose_output_is_no_single_product_are_simulated_and_auto_never_chooses_fp8():
    def model() -> nn.ModuleDict:
        return nn.ModuleDict(
            {
                "linear": nn.Linear(80, 8),
                "attention": nn.MultiheadAttention(80, 2),
                "pointwise": nn.Conv2d(80, 8, 1),
                "strided": nn.Conv2d(80, 8, 1, stride=2),
                "grouped": nn.Conv2d(80, 8, 1, groups=2),
                "padded": nn.Conv2d(80, 8, 1, padding=1),
                "3x3": nn.Conv2d(80, 8, 3),
                "lstm": nn.LSTM(80, 8),
            }
        )

    backends = quantize_model(model(), backend="fp8", skip=[]).backends
    assert backends["fp8"] == ["linear", "attention", "pointwise"]
    assert backends["simulated"] == ["strided", "grouped", "padded", "3x3", "lstm"]
    assert "fp8" not in quantize_model(model(), backend="auto", skip=[]).backends


def test_wider_steps_and_other_types_are_simulated():
    layer = nn.Linear(16, 24)
    precision = quantize_model(layer, backend="fp8", skip=[])
    for forward, backward, on_codes in ((8, 8, True), (9, 8, False), (8, 9, False), (2, 2, True)):
        precision.set(forward, backward)
        assert layer.on_codes(random(2, 16)) is on_codes
    precision.set(8, 8)
    assert not layer.on_codes(random(2, 16).double())


def test_another_quantizer_is_refused():
    with pytest.raises(BackendError, match="backend 'fp8' takes the quantizer 'sbm', not 'dorefa'"):
        quantize_model(nn.Linear(16, 4), quantizer="dorefa", backend="fp8", skip=[])


@pytest.mark.parametrize(
    ("capability", "lacking"),
    [((8, 0), "a GPU of compute capability 8.9 or more (Ada, Hopper), not 8.0"), ((8, 9), None), ((9, 0), None)],
)
def test_a_gpu_before_ada_lacks_it(capability, lacking, monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: capability)
    assert fp8_products.lacking(torch.device("cuda")) == lacking
    assert fp8_products.lacking(CPU) is None


def test_a_gpu_of_another_maker_lacks_it(monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", None)
    assert fp8_products.lacking(torch.device("cuda")) == "an NVIDIA GPU"


def test_matrices_on_a_gpu_are_padded_to_what_its_products_take():
    ones = torch.ones(5, 9).to(torch.float8_e4m3fn)
    padded = fp8_products._padded(ones, rows=16)
    assert padded.shape == (16, 16)
    assert padded.float().sum() == 45
    assert fp8_products._padded(ones, rows=1).shape == (5, 16)
