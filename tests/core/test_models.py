"""The registry of models, and their sizes."""

import pytest
import torch

from cpt_core import cost
from cpt_core.models import create_model, list_models, register_model
from cpt_core.spec import CifarResNet

NAMES = list(CifarResNet.model_fields["name"].annotation.__args__)


@pytest.mark.parametrize(
    ("name", "parameters", "million_macs"),
    [
        ("resnet38", 565_274, 83.28),
        ("resnet74", 1_149_914, 168.2),
        ("resnet110", 1_734_554, 253.1),
        ("resnet152", 2_416_634, 352.2),
    ],
)
def test_cifar_resnets_have_the_published_parameters_and_macs(name, parameters, million_macs):
    model = create_model(name, num_classes=10)
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert cost.macs(model, (3, 32, 32)) / 1e6 == pytest.approx(million_macs, abs=0.05)


def test_every_model_of_the_spec_exists():
    assert list_models("resnet*") == sorted(NAMES, key=lambda name: int(name.removeprefix("resnet")))


@pytest.mark.parametrize("name", ["resnet8", "resnet20"])
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
