"""quantize_model and PrecisionState: what is swapped, and what setting the precision does."""

import pytest
import torch
from torch import nn

from cpt_core.models import create_model
from cpt_core.quant import PrecisionState, QuantConv2d, QuantLinear, quantize_model


def small_model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 4, 3),
        nn.Flatten(),
        nn.Linear(64, 8),
        nn.Linear(8, 2),
    )


def images(seed: int = 1) -> torch.Tensor:
    return torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


def gradients(model: nn.Module, state: PrecisionState, forward_bits: int, backward_bits: int) -> list[torch.Tensor]:
    model.zero_grad()
    state.set(forward_bits, backward_bits)
    model(images()).square().sum().backward()
    return [p.grad.clone() for p in model.parameters() if p.grad is not None]


def test_it_swaps_all_layers_but_the_last_linear_in_place_and_keeps_every_parameter():
    model = small_model()
    before = dict(model.named_parameters())
    state = quantize_model(model)
    assert state.layers == ["0", "3", "5"]
    assert isinstance(model[0], QuantConv2d)
    assert isinstance(model[5], QuantLinear)
    assert type(model[6]) is nn.Linear
    assert all(parameter is before[name] for name, parameter in model.named_parameters())


@pytest.mark.parametrize(
    ("skip", "layers"), [(["0", "6"], ["3", "5"]), (["[03]"], ["5", "6"]), ([], ["0", "3", "5", "6"])]
)
def test_skip_names_what_stays_in_full_precision(skip, layers):
    assert quantize_model(small_model(), skip=skip).layers == layers


def test_a_skipped_name_that_matches_nothing_is_an_error():
    with pytest.raises(ValueError, match="'stem'"):
        quantize_model(small_model(), skip=["stem"])


def test_a_model_without_a_layer_to_quantise_is_an_error():
    with pytest.raises(ValueError, match="no layer to quantise"):
        quantize_model(nn.Sequential(nn.ReLU(), nn.Linear(2, 2)))


def test_unknown_names_are_errors_that_list_the_known_ones():
    with pytest.raises(ValueError, match=r"'lsq'.*sbm"):
        quantize_model(small_model(), quantizer="lsq")
    with pytest.raises(ValueError, match=r"'tpu'.*simulated"):
        quantize_model(small_model(), backend="tpu")


def test_cifar_resnets_quantise_their_stem_and_downsample_but_not_their_classifier():
    layers = quantize_model(create_model("resnet8")).layers
    assert "conv1" in layers
    assert "layer2.0.downsample" in layers
    assert "fc" not in layers


def test_it_starts_in_full_precision_and_32_or_0_bits_return_to_it():
    plain, model = small_model(), small_model()
    state = quantize_model(model)
    x = images()
    assert torch.equal(model(x), plain(x))
    state.set(8, 8)
    assert not torch.equal(model(x), plain(x))
    for bits in (0, 32):
        state.set(bits, 8)
        assert torch.equal(model(x), plain(x))
        assert (state.forward_bits, state.backward_bits) == (32, 32)


def test_full_precision_forward_leaves_the_gradients_alone_too():
    plain, model = small_model(), small_model()
    state = quantize_model(model)
    plain(images()).square().sum().backward()
    expected = [p.grad for p in plain.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(gradients(model, state, 32, 4), expected, strict=True))


def test_gradients_can_stay_in_full_precision_while_the_forward_pass_is_quantised():
    model = small_model()
    state = quantize_model(model)
    state.reseed(1)
    first = gradients(model, state, 6, 32)
    state.reseed(2)
    assert all(torch.equal(a, b) for a, b in zip(first, gradients(model, state, 6, 32), strict=True))
    assert not torch.equal(first[0], gradients(model, state, 6, 4)[0])


@pytest.mark.parametrize("bits", [-1, 1, 17, 33])
def test_other_widths_are_refused(bits):
    state = quantize_model(small_model())
    with pytest.raises(ValueError, match=f"{bits} bits"):
        state.set(bits, 8)
    with pytest.raises(ValueError, match=f"{bits} bits"):
        state.set(8, bits)


def test_the_noise_is_a_function_of_the_seed_and_not_of_torchs_generators():
    model = small_model()
    state = quantize_model(model)
    state.reseed(2**64 - 1)
    first = gradients(model, state, 8, 4)
    torch.manual_seed(5)
    state.reseed(2**64 - 1)
    again = gradients(model, state, 8, 4)
    state.reseed(6)
    other = gradients(model, state, 8, 4)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])


def test_layers_get_different_noise():
    layers = nn.Sequential(nn.Linear(16, 16), nn.Linear(16, 16))
    layers[1].load_state_dict(layers[0].state_dict())
    state = quantize_model(layers, skip=[])
    state.set(8, 4)
    g, inputs = torch.randn(4, 16), [torch.ones(4, 16, requires_grad=True) for _ in layers]
    for layer, x in zip(layers, inputs, strict=True):
        layer(x).backward(g)
    assert not torch.equal(inputs[0].grad, inputs[1].grad)


def test_the_state_still_rules_a_model_that_was_moved_to_another_type():
    model = small_model()
    state = quantize_model(model)
    model.double()
    x = images().double()
    state.set(8, 8)
    eight = model(x)
    state.set(2, 8)
    assert not torch.equal(eight, model(x))
    assert eight.dtype == torch.float64


def test_first_nonfinite_names_the_first_layer_that_met_nan_or_infinity():
    model = small_model()
    state = quantize_model(model)
    state.set(8, 8)
    model(images())
    assert state.first_nonfinite() is None
    with torch.no_grad():
        model[3].weight[0, 0, 0, 0] = float("nan")
    model(images())
    assert state.first_nonfinite() == "3"
    broken = images()
    broken[0, 0, 0, 0] = float("inf")
    model(broken)
    assert state.first_nonfinite() == "0"


def test_fixed_layers_keep_their_widths_until_full_precision():
    model = small_model()
    state = quantize_model(model, fixed={"3": (8, 16)})
    state.set(3, 6)
    assert [int(model[index].bit_widths.forward_levels) for index in (0, 3, 5)] == [7, 255, 7]
    assert [int(model[index].bit_widths.backward_levels) for index in (0, 3, 5)] == [63, 65535, 63]
    state.set(32, 32)
    assert torch.equal(model(images()), small_model()(images()))


def test_hooks_and_tied_layers_survive():
    tied = nn.Linear(4, 4)
    model = nn.Sequential(tied, nn.ReLU(), tied, nn.Linear(4, 1))
    calls = []
    tied.register_forward_hook(lambda *_: calls.append(1))
    quantize_model(model)
    model(torch.randn(2, 4))
    assert model[0] is model[2]
    assert len(calls) == 2
