"""What holds for every quantiser, by name."""

import pytest
import torch
import torch.nn.functional as F

from cpt_core.models import create_model
from cpt_core.quant import dorefa, quantize_model, sbm, wageubn
from cpt_core.quant.registry import QUANTIZERS

MODULES = {"sbm": sbm, "dorefa": dorefa, "wageubn": wageubn}


def functions(name: str):
    module = MODULES[name]
    return module.quantize_weight, module.quantize_activation, module.quantize_gradient


def test_every_quantiser_is_tested_here():
    assert MODULES.keys() == QUANTIZERS.keys()


@pytest.mark.parametrize("name", MODULES)
def test_full_precision_returns_the_tensor_itself_and_other_widths_are_refused(name):
    x = torch.randn(3, 4)
    for quantize in functions(name):
        assert quantize(x, 0) is x
        assert quantize(x, 32) is x
        for bits in (-1, 1, 17, 33):
            with pytest.raises(ValueError, match=f"{bits} bits"):
                quantize(x, bits)


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_shape_and_type_are_kept_and_an_empty_tensor_stays_empty(name, dtype):
    for quantize in functions(name):
        for shape in ((2, 3), (2, 3, 4), (2, 3, 4, 4), (0, 3), (0, 3, 4, 4)):
            x = torch.randn(shape, dtype=dtype)
            assert (quantize(x, 5).shape, quantize(x, 5).dtype) == (shape, dtype)


@pytest.mark.parametrize("name", MODULES)
def test_16_bits_are_close_to_the_tensor(name):
    x = torch.rand(4, 50) * 0.9
    x[0, 0] = 1.0
    for quantize in functions(name):
        if quantize is dorefa.quantize_weight:
            t = torch.tanh(x)
            torch.testing.assert_close(quantize(x, 16), t / t.max(), rtol=0, atol=1e-4)
        else:
            torch.testing.assert_close(quantize(x, 16), x, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", MODULES)
def test_a_small_network_learns_with_it(name):
    torch.manual_seed(0)
    model = create_model("resnet8", num_classes=4)
    state = quantize_model(model, quantizer=name)
    images = torch.randn(16, 3, 16, 16)
    labels = torch.arange(16) % 4
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    losses = []
    for step in range(25):
        state.set(8, 8)
        state.reseed(step)
        loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]


def test_dorefa_leaves_the_first_layer_in_full_precision():
    assert "conv1" not in quantize_model(create_model("resnet8"), quantizer="dorefa").layers
    assert "conv1" in quantize_model(create_model("resnet8"), quantizer="sbm").layers
