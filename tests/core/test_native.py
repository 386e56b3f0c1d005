"""The C++ functions of the SBM quantiser: bit for bit what the PyTorch code gives."""

import shutil
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from cpt_core.quant import native, quantize_model, sbm
from cpt_core.quant.bit_widths import levels_tensor
from cpt_core.quant.layers import QuantLinear

SEED = torch.tensor(-0x123456789ABCDEF)
# Empty lanes, whole ones, more than one chunk, and both memory formats.
SHAPES = [
    (1,),
    (7,),
    (3, 5),
    (64, 64, 3, 3),
    (1, 20, 260),
    (3, 4, 5),
    (70_001,),
    (2, 3, 150, 170),
    (5, 70_001),
    (2, 3, 70_001),
]


def both(function) -> tuple[Tensor, Tensor]:
    with native.disabled():
        reference = function()
    return function(), reference


def values(shape, channels_last=False) -> Tensor:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))
    return x.contiguous(memory_format=torch.channels_last) if channels_last else x


@pytest.fixture(autouse=True)
def _built():
    if not native.available() and not any(map(shutil.which, ("c++", "g++", "gcc", "cc"))):
        pytest.skip("this machine has no C++ compiler, so the C++ functions were not built")
    assert native.available(), "cpt_core.quant._native was not built although there is a compiler: make install"


@pytest.mark.parametrize("bits", [2, 5, 8, 16])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_weights_activations_and_errors_equal_the_pytorch_code_bitwise(shape, bits):
    for channels_last in {False, len(shape) == 4}:
        x = values(shape, channels_last)
        levels = levels_tensor(bits, x)
        for function in (
            partial(sbm.quantize_weight, x, bits),
            partial(sbm.quantize_activation, x, bits),
            partial(sbm.gradient, x, levels, None),
            partial(sbm.gradient, x, levels, SEED),
        ):
            mine, reference = both(function)
            assert torch.equal(mine, reference)
            assert mine.stride() == reference.stride()


@pytest.mark.parametrize("broken", [float("nan"), float("inf"), float("-inf")])
def test_a_broken_value_shows_in_the_range_wherever_it_is(broken):
    for index in (0, 31, 32, 65_536, 70_000):
        x = values((70_001,))
        x[index] = broken
        (low, span), (reference_low, reference_span) = both(lambda x=x: sbm.tensor_range(x))
        assert not span.isfinite()
        torch.testing.assert_close((low, span), (reference_low, reference_span), equal_nan=True)


def test_running_ranges_move_as_the_pytorch_codes_bitwise():
    def observed() -> Tensor:
        layer = QuantLinear(4, 3)
        layer.init_quantization()
        layer.bit_widths.set(5, 8)
        for seed in range(20):
            layer(torch.randn(7, 4, generator=torch.Generator().manual_seed(seed)))
        return layer.observed()

    assert torch.equal(*both(observed))


def test_values_that_are_all_the_same_stay():
    x = torch.full((100,), 3.25)
    assert torch.equal(sbm.quantize_activation(x, 4), x)


def test_other_types_and_gaps_in_memory_are_left_to_pytorch():
    x = values((4, 6))
    assert native.takes(x)
    assert not native.takes(x.double())
    assert not native.takes(x[:, :3])
    assert not native.takes(x[:0])
    assert torch.equal(sbm.quantize_activation(x[:, :3], 5), sbm.quantize_activation(x[:, :3].contiguous(), 5))


def test_the_result_does_not_depend_on_the_number_of_threads():
    x = values((2, 8, 150, 170))
    threads = torch.get_num_threads()
    results = []
    for count in (1, 3):
        torch.set_num_threads(count)
        results.append(sbm.gradient(x, levels_tensor(6, x), SEED))
    torch.set_num_threads(threads)
    assert torch.equal(*results)


def test_a_training_step_is_the_same_with_and_without():
    def gradients() -> Tensor:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5))
        precision = quantize_model(model, skip=[])
        precision.set(5, 6)
        precision.reseed(1)
        model(values((8, 3, 8, 8))).square().mean().backward()
        return torch.cat([parameter.grad.flatten() for parameter in model.parameters()])

    assert torch.equal(*both(gradients))
