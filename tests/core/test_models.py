"""The registry of models, and their sizes."""

from typing import get_args

import pytest
import torch

from cpt_core import cost
from cpt_core.models import create_model, list_models, register_model
from cpt_core.quant import quantize_model
from cpt_core.spec import CifarResNet, ImageNetResNet, LstmLM, MobileNetV2, TransformerLM

NAMES = [
    name
    for part in (CifarResNet, MobileNetV2, ImageNetResNet, LstmLM, TransformerLM)
    for name in get_args(part.model_fields["name"].annotation)
]


@pytest.mark.parametrize(
    ("name", "parameters", "million_macs"),
    [
        ("resnet38", 565_274, 83.28),
        ("resnet74", 1_149_914, 168.2),
        ("resnet110", 1_734_554, 253.1),
        ("resnet152", 2_416_634, 352.2),
        ("mobilenet_v2", 2_296_922, 91.2),
    ],
)
def test_cifar_models_have_the_published_parameters_and_macs(name, parameters, million_macs):
    model = create_model(name, num_classes=10)
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert cost.macs(model, (3, 32, 32)) / 1e6 == pytest.approx(million_macs, abs=0.05)


@pytest.mark.parametrize(
    ("name", "million_parameters", "billion_macs"),
    [("resnet18", 11.69, 1.814), ("resnet34", 21.80, 3.664), ("resnet50", 25.56, 4.089)],
)
def test_imagenet_resnets_have_the_published_parameters_and_macs(name, million_parameters, billion_macs):
    model = create_model(name, num_classes=1000)
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(million_parameters, abs=0.005)
    assert cost.macs(model, (3, 224, 224)) / 1e9 == pytest.approx(billion_macs, abs=0.0005)


def test_every_model_of_the_spec_exists_and_numbers_sort_as_numbers():
    assert set(NAMES) <= set(list_models())
    assert list_models("resnet*8") == ["resnet8", "resnet18", "resnet38"]


def test_imagenet_resnets_keep_stem_downsample_and_classifier_in_full_precision():
    layers = quantize_model(create_model("resnet18")).layers
    assert len(layers) == 16
    assert not any(name in ("conv1", "fc") or "downsample" in name for name in layers)


def test_depthwise_convolutions_of_mobilenet_keep_their_widths():
    model = create_model("mobilenet_v2")
    state = quantize_model(model)
    depthwise, other = model.blocks[1].depthwise, model.blocks[1].expand
    state.set(3, 6)
    assert (depthwise.bit_widths.forward_levels, depthwise.bit_widths.backward_levels) == (2**8 - 1, 2**16 - 1)
    assert (other.bit_widths.forward_levels, other.bit_widths.backward_levels) == (2**3 - 1, 2**6 - 1)
    state.set(32, 32)
    assert not depthwise.bit_widths.quantize_forward


def test_a_transformer_language_model_does_not_look_ahead():
    model = create_model("transformer_lm", num_classes=50, d_model=16, num_layers=2, num_heads=2, feed_forward=32)
    state = quantize_model(model)
    tokens = torch.randint(50, (2, 9))
    changed = tokens.clone()
    changed[:, 5] = (changed[:, 5] + 1) % 50
    with torch.no_grad():
        for bits in (32, 8):
            state.set(bits, 8)
            model.train()(tokens)
            model.eval()
            assert torch.equal(model(tokens)[:, :5], model(changed)[:, :5])
            assert not torch.equal(model(tokens)[:, 5:], model(changed)[:, 5:])
    assert model(tokens).shape == (2, 9, 50)


def test_an_lstm_language_model_continues_where_the_last_stretch_of_text_ended():
    model = create_model("lstm_lm", num_classes=50, hidden_size=16).eval()
    tokens = torch.randint(50, (2, 10))
    whole, _ = model(tokens)
    first, state = model(tokens[:, :6])
    second, _ = model(tokens[:, 6:], state)
    torch.testing.assert_close(torch.cat((first, second), dim=1), whole)


@pytest.mark.parametrize("name", ["lstm_lm", "transformer_lm"])
def test_language_models_quantise_all_but_embedding_and_decoder(name):
    layers = quantize_model(create_model(name, num_classes=20)).layers
    assert layers
    assert not any(layer in ("embedding", "position", "decoder") for layer in layers)


@pytest.mark.parametrize("name", ["resnet8", "resnet20", "mobilenet_v2"])
def test_every_parameter_that_trains_gets_a_gradient(name):
    model = create_model(name, num_classes=7)
    logits = model(torch.randn(2, 3, 32, 32))
    logits.sum().backward()
    assert logits.shape == (2, 7)
    assert all((p.grad is not None) == p.requires_grad for p in model.parameters())


def test_channels_last_is_kept_through_the_convolutions():
    model = create_model("resnet8").to(memory_format=torch.channels_last)
    formats = []
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(
                lambda _m, _a, y: formats.append(y.is_contiguous(memory_format=torch.channels_last))
            )
    model(torch.randn(2, 3, 32, 32).to(memory_format=torch.channels_last))
    assert formats
    assert all(formats)


def test_an_unknown_name_is_an_error_that_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"'resnet39'.*resnet38"):
        create_model("resnet39")


def test_a_name_is_registered_once():
    with pytest.raises(ValueError, match="already"):
        register_model("resnet38")(lambda num_classes: torch.nn.Linear(1, num_classes))
