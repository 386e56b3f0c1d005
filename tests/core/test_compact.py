"""Norms and activations between quantised layers: torch's numbers and state, and a part of what torch keeps."""

import math
import shutil

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from cpt_core.models import create_model
from cpt_core.norms import BatchNormReLU2d
from cpt_core.quant import PrecisionState, native, quantize_model
from cpt_core.quant.bit_widths import BitWidths
from cpt_core.quant.compact import (
    CompactBatchNorm2d,
    CompactBatchNormReLU2d,
    CompactMaxPool2d,
    CompactReLU,
    make_compact,
)
from cpt_core.quant.ranges import tensor_range

FLOATS, FIXED_POINT = 1e-6, 1e-4
"""Relative error against float64 of what is exact up to floats, and of what takes 16-bit fixed point."""


@pytest.fixture(autouse=True)
def _built():
    if not native.available() and not any(map(shutil.which, ("c++", "g++", "gcc", "cc"))):
        pytest.skip("this machine has no C++ compiler, so the C++ functions were not built")
    assert native.available(), "cpt_core.quant._native was not built although there is a compiler: make install"


def random(*shape: int, seed: int = 0) -> Tensor:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape) + seed))
    return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x


def images(*shape: int) -> Tensor:
    """Channels of different means and widths."""
    channels = torch.arange(shape[1])[:, None, None]
    return (random(*shape) * (1 + channels) + 3 * torch.cos(channels)).contiguous(memory_format=torch.channels_last)


def compact(
    module: nn.Module, forward_bits: int = 8, backward_bits: int = 8, *, among_integers: bool = True
) -> nn.Module:
    widths = BitWidths()
    widths.set(forward_bits, backward_bits)
    make_compact(module, widths, among_integers=among_integers)
    return module


def error(mine: Tensor, exact: Tensor) -> float:
    return float((mine.double() - exact.double()).norm() / exact.double().norm())


def gradients(module: nn.Module, x: Tensor, *more: Tensor) -> list[Tensor]:
    """The output, and the gradients of inputs and parameters."""
    inputs = [tensor.detach().clone(memory_format=torch.preserve_format).requires_grad_() for tensor in (x, *more)]
    y = module(*inputs)
    y.backward(random(*y.shape, seed=5).to(y.dtype))
    return [y.detach(), *(tensor.grad for tensor in (*inputs, *module.parameters()) if tensor.requires_grad)]


SHAPES = [(4, 3, 7, 7), (2, 16, 5, 9), (3, 64, 3, 5), (1, 24, 1, 3), (128, 16, 8, 8), (2, 320, 4, 4)]
"""Below, at and above the sizes of vectors and chunks; odd images; more channels than are taken together."""


def norm(kind: type[nn.BatchNorm2d], channels: int, **options) -> nn.BatchNorm2d:
    module = kind(channels, **options)
    if module.affine:
        with torch.no_grad():
            module.weight.copy_(random(channels))  # of both signs
            module.bias.copy_(random(channels, seed=1))
    return module


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize(
    ("kind", "with_shortcut"), [(nn.BatchNorm2d, False), (BatchNormReLU2d, False), (BatchNormReLU2d, True)]
)
@pytest.mark.parametrize(("among_integers", "tolerance"), [(True, FIXED_POINT), (False, FLOATS)])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_batch_norm_and_its_gradients_equal_float64(shape, among_integers, tolerance, kind, with_shortcut, affine):
    inputs = [images(*shape), *([random(*shape, seed=3)] if with_shortcut else [])]
    module, exact = (norm(kind, shape[1], affine=affine) for _ in range(2))
    y, dx, *others = gradients(compact(module, among_integers=among_integers), *inputs)
    exact_y, exact_dx, *exact_others = gradients(exact.double(), *(x.double() for x in inputs))
    assert type(module) in (CompactBatchNorm2d, CompactBatchNormReLU2d)
    assert error(y, exact_y) < FLOATS
    assert error(dx, exact_dx) < tolerance
    assert len(others) == len(exact_others)
    for left, right in zip(others, exact_others, strict=True):
        assert error(left, right) < tolerance


@pytest.mark.parametrize("among_integers", [True, False])
@pytest.mark.parametrize("weight", [0.0, 1.0, -1.0])
@pytest.mark.parametrize("bias", [0.0, 50.0, -50.0])
def test_a_relu_that_lets_all_or_nothing_through(weight, bias, among_integers):
    module = BatchNormReLU2d(16)
    nn.init.constant_(module.weight, weight)
    nn.init.constant_(module.bias, bias)
    exact = BatchNormReLU2d(16).double()
    exact.load_state_dict(module.state_dict())
    x = images(2, 16, 6, 6)
    mine = gradients(compact(module, among_integers=among_integers), x)
    for left, right in zip(mine, gradients(exact, x.double()), strict=True):
        assert float((left.double() - right).abs().max()) < 1e-3


@pytest.mark.parametrize("weight", [1.0, -1.0])
def test_in_floats_a_norm_far_from_zero_loses_nothing(weight):
    module, exact = (BatchNormReLU2d(16) for _ in range(2))
    for one in (module, exact):
        nn.init.constant_(one.weight, weight)
    x = images(8, 16, 6, 6) + 1000
    mine = gradients(compact(module, among_integers=False), x)
    for left, right in zip(mine, gradients(exact.double(), x.double()), strict=True):
        assert error(left, right) < 1e-4  # floats near 1,000 have a resolution of their own


def known_and_found(x: Tensor) -> list[tuple[Tensor, Tensor]]:
    """The range that a tensor knows, and the one that a pass over it finds."""
    assert hasattr(x, "_cpt_range")
    return list(zip(tensor_range(x), tensor_range(x.clone()), strict=True))


@pytest.mark.parametrize("among_integers", [True, False])
@pytest.mark.parametrize(
    ("kind", "with_shortcut"), [(nn.BatchNorm2d, False), (BatchNormReLU2d, False), (BatchNormReLU2d, True)]
)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_outputs_and_errors_know_their_ranges(shape, kind, with_shortcut, among_integers):
    module = compact(norm(kind, shape[1]), among_integers=among_integers)
    x = images(*shape).requires_grad_()
    y = module(x, *([random(*shape, seed=3)] if with_shortcut else []))
    (dx,) = torch.autograd.grad(y.square().sum(), x)
    for known, found in known_and_found(y.detach_()) + known_and_found(dx):
        assert torch.equal(known, found)


def test_a_tensor_that_was_changed_no_longer_knows_its_range():
    y = compact(nn.BatchNorm2d(4))(images(2, 4, 5, 5))
    y.mul_(3)
    for left, right in known_and_found(y):
        assert torch.equal(left, right)


def test_in_inference_mode_a_norm_in_training_knows_no_range():
    x, module, plain = images(2, 4, 5, 5), compact(nn.BatchNorm2d(4)), nn.BatchNorm2d(4)
    with torch.inference_mode():
        y = module(x)
        torch.testing.assert_close(y, plain(x))
        y.mul_(3)
        torch.testing.assert_close(tensor_range(y), tensor_range(y.clone()))


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("where", ["input", "shortcut"])
def test_a_broken_number_is_in_the_known_range(broken, where):
    x, shortcut = images(2, 4, 5, 5), random(2, 4, 5, 5)
    (x if where == "input" else shortcut)[0, 1, 2, 3] = broken
    y = compact(BatchNormReLU2d(4))(x, shortcut)
    _low, span = tensor_range(y)
    if where == "input" or broken != -math.inf:  # which the ReLU takes away
        assert not span.isfinite()
    else:
        assert span.isfinite()


@pytest.mark.parametrize("backend", ["simulated", "int8"])
def test_a_quantised_layer_takes_the_range_that_is_known(backend, monkeypatch):
    passes: list[tuple[int, ...]] = []

    def counted(x: Tensor) -> tuple[Tensor, Tensor]:
        passes.append(tuple(x.shape))
        return one_pass(x)

    one_pass = native.tensor_range
    monkeypatch.setattr(native, "tensor_range", counted)
    layers = nn.Conv2d(3, 16, 3), BatchNormReLU2d(16), nn.Conv2d(16, 8, 3), nn.BatchNorm2d(8)
    model = nn.Sequential(*layers).to(memory_format=torch.channels_last)
    quantize_model(model, backend=backend, skip=[]).set(6, 8)
    model(images(4, 3, 9, 9)).square().sum().backward()
    assert passes == [(4, 3, 9, 9)]  # of the images: no norm has made them


@pytest.mark.parametrize("weight", [1.0, -1.0])
@pytest.mark.parametrize("offset", [0.0, 1000.0], ids=["near zero", "far from it"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_kept_code_stands_for_the_normalised_input_up_to_half_a_step(shape, offset, weight):
    module = BatchNormReLU2d(shape[1])
    nn.init.constant_(module.weight, weight)
    nn.init.normal_(module.bias)  # where the ReLU begins, which is a border of the grid
    x = images(*shape) + offset
    saved = compact(module)(x.requires_grad_()).grad_fn.saved_tensors
    _x, codes, _bits, _weight, _mean, inverse, scale, shift, _threshold = saved
    mean = x.detach().double().mean((0, 2, 3))
    per_channel = (-1, 1, 1)
    normalised = (x.detach().double() - mean.view(per_channel)) * inverse.double().view(per_channel)
    kept = codes.double() * scale.double().view(per_channel) + shift.double().view(per_channel)
    # Floats of this offset have a resolution of their own.
    tolerance = 0.55 * scale.double().abs() + 2e-7 * (1 + offset) * inverse.double()
    assert ((kept - normalised).abs() <= tolerance.view(per_channel)).all()


@pytest.mark.parametrize("momentum", [0.1, None])
def test_running_moments_are_torchs(momentum):
    mine, torchs = (nn.BatchNorm2d(5, momentum=momentum) for _ in range(2))
    compact(mine)
    for seed in range(3):
        x = random(4, 5, 6, 6, seed=seed)
        mine(x), torchs(x)
    assert mine.state_dict().keys() == torchs.state_dict().keys()
    torch.testing.assert_close(mine.state_dict(), torchs.state_dict())


@pytest.mark.parametrize(
    "change",
    [
        lambda module, x: (module.eval(), x),
        lambda module, x: (module, x.contiguous()),
        lambda module, x: (module.double(), x.double()),
        lambda module, x: (compact(module, 32, 32), x),
    ],
    ids=["evaluation", "other memory", "other type", "full precision"],
)
@pytest.mark.parametrize("kind", [nn.BatchNorm2d, BatchNormReLU2d])
def test_where_it_cannot_be_compact_a_norm_is_torchs_to_the_last_bit(kind, change):
    x = images(3, 6, 5, 5)
    module, plain = compact(norm(kind, 6)), norm(kind, 6)
    changed, of_it = change(module, x)
    plain, _ = change(plain, x) if changed.running_mean.dtype == torch.float64 else (plain, x)
    plain.train(changed.training)
    for left, right in zip(gradients(changed, of_it), gradients(plain, of_it), strict=True):
        assert torch.equal(left, right)


def test_in_wide_steps_a_norm_among_integers_keeps_floats():
    x = images(3, 6, 5, 5)
    mine, plain = compact(norm(nn.BatchNorm2d, 6), 9, 8), norm(nn.BatchNorm2d, 6)
    for left, right in zip(gradients(mine, x), gradients(plain.double(), x.double()), strict=True):
        assert error(left, right) < FLOATS


def test_a_norm_over_one_element_is_refused_as_by_torch():
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        compact(nn.BatchNorm2d(4))(random(1, 4, 1, 1))


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("shape", [(5,), (3, 7, 11), (2, 3, 5, 5), (4, 16, 33, 33)], ids=str)
def test_a_relu_is_torchs_to_the_last_bit(shape, inplace):
    class Activated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.relu = nn.ReLU(inplace)

        def forward(self, x: Tensor) -> Tensor:
            return self.relu(x * 1.0)

    x = random(*shape)
    module = compact(Activated())
    assert type(module.relu) is CompactReLU
    for left, right in zip(gradients(module, x), gradients(Activated(), x), strict=True):
        assert torch.equal(left, right)
        assert left.stride() == right.stride()


def test_a_relu_in_place_changes_its_input():
    x = random(4, 4).requires_grad_() * 1.0
    y = compact(nn.ReLU(inplace=True))(x)
    assert y is x
    assert float(x.detach().min()) == 0


def test_a_relu_in_place_on_a_part_of_a_tensor_reaches_the_whole():
    x = random(4, 6).requires_grad_()
    whole = x * 1.0
    compact(nn.ReLU(inplace=True))(whole[:, :3])
    whole.sum().backward()
    assert torch.equal(x.grad[:, :3], (x[:, :3] > 0).float())
    assert torch.equal(x.grad[:, 3:], torch.ones(4, 3))


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_a_broken_value_goes_through(broken):
    x = images(2, 4, 5, 5)
    x[0, 1, 2, 3] = broken
    for module in (compact(BatchNormReLU2d(4)), compact(nn.BatchNorm2d(4))):
        y, dx, *_ = gradients(module, x)
        assert not y[:, 1].isfinite().any()
        assert not dx[:, 1].isfinite().any()
        assert y[:, [0, 2, 3]].isfinite().all()
        assert not module.running_var[1].isfinite()
    y = compact(nn.ReLU())(x.requires_grad_())
    assert torch.equal(y, F.relu(x)) or y[0, 1, 2, 3].isnan()


def test_the_result_does_not_depend_on_the_number_of_threads():
    threads, results = torch.get_num_threads(), []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            results.append(gradients(compact(norm(BatchNormReLU2d, 48)), images(9, 48, 17, 17), random(9, 48, 17, 17)))
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        assert all(map(torch.equal, results[0], other))


def test_a_second_derivative_is_refused():
    x = images(2, 4, 5, 5).requires_grad_()
    (dx,) = torch.autograd.grad(compact(nn.BatchNorm2d(4))(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        dx.sum().backward()


def kept_bytes(model: nn.Module, x: Tensor) -> int:
    storages: dict[int, int] = {}
    parameters = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}

    def take(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(take, lambda tensor: tensor):
        y = model(x)
    assert y.requires_grad
    return sum(storages.values())


@pytest.mark.parametrize("name", ["resnet8", "mobilenet_v2"])
def test_a_training_step_in_integers_keeps_less_than_six_tenths_of_fp32(name):
    x = random(16, 3, 32, 32)  # enough for weights to be the lesser part
    kept = []
    for quantized in (False, True):
        model = create_model(name, num_classes=10).to(memory_format=torch.channels_last)
        if quantized:
            quantize_model(model, backend="int8").set(8, 8)
        kept.append(kept_bytes(model, x))
    assert kept[1] < 0.6 * kept[0]


def small_model() -> tuple[nn.Module, PrecisionState]:
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(inplace=True), nn.Conv2d(16, 16, 3), nn.BatchNorm2d(16)
    model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(256, 4)).to(memory_format=torch.channels_last)
    state = quantize_model(model, backend="int8")
    state.set(6, 8)
    state.reseed(1)
    return model, state


def test_a_model_keeps_its_names_and_takes_weights_to_and_from_fp32():
    plain, mine = create_model("resnet8", num_classes=10), create_model("resnet8", num_classes=10)
    quantize_model(mine, backend="int8").set(8, 8)
    names = [name for name in mine.state_dict() if "running_zero_point" not in name and "running_range" not in name]
    assert names == list(plain.state_dict())
    mine.load_state_dict(plain.state_dict(), strict=False)
    plain.load_state_dict({name: mine.state_dict()[name] for name in names})


def test_hooks_see_what_norms_and_activations_return():
    model, _ = small_model()
    seen = []
    for layer in model[1:3]:
        layer.register_forward_hook(lambda _layer, _args, output: seen.append(output.detach().clone()))
    model(random(4, 3, 8, 8))
    assert float(seen[0].min()) < 0
    assert torch.equal(seen[1], F.relu(seen[0]))


def test_a_step_taken_again_is_the_same_to_the_last_bit():
    steps = []
    for _ in range(2):
        model, _ = small_model()
        steps.append(gradients(model, random(4, 3, 8, 8)))
    assert all(map(torch.equal, *steps))


def test_other_layers_keep_torchs_classes():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU6())
    quantize_model(model, skip=[])
    assert type(model[1]) is CompactBatchNorm2d
    assert type(model[2]) is CompactReLU
    assert type(model[4]) is nn.ReLU6


def test_norms_keep_floats_until_there_are_integers():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3))
    for backend in ("simulated", "int8"):
        quantize_model(model, backend=backend, skip=[]).set(8, 8)
        assert model[1].in_fixed_point() == (backend == "int8")


class FeedForward(nn.Module):
    """As in a transformer."""

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(24, 96), activation, nn.Linear(96, 8))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


@pytest.mark.parametrize("approximate", ["none", "tanh"])
@pytest.mark.parametrize("bits", [3, 8])
def test_a_gelu_of_an_integer_product_makes_its_input_again_to_the_last_bit(bits, approximate):
    class TorchsGELU(nn.GELU):  # no class that is replaced
        pass

    results = []
    for kind in (nn.GELU, TorchsGELU):
        torch.manual_seed(0)
        model = FeedForward(kind(approximate))
        quantize_model(model, backend="int8", skip=[]).set(bits, 8)
        x = random(5, 7, 24)
        results.append((gradients(model, x), kept_bytes(model, x)))
    (mine, mine_kept), (torchs, torchs_kept) = results
    assert all(map(torch.equal, mine, torchs))
    assert torchs_kept - mine_kept == 5 * 7 * 96 * 4  # the whole of it


@pytest.mark.parametrize("backend", ["simulated", "int8"])
def test_a_transformer_layer_has_such_a_gelu(backend):
    torch.manual_seed(0)
    plain = nn.TransformerEncoderLayer(32, 2, 64, dropout=0.0, activation="gelu", batch_first=True)
    quantize_model(plain, backend=backend, skip=[]).set(8, 8)
    kept = kept_bytes(plain, random(3, 9, 32))
    plain.activation = F.gelu
    assert kept_bytes(plain, random(3, 9, 32)) - kept == (3 * 9 * 64 * 4 if backend == "int8" else 0)


def test_a_product_that_was_changed_is_kept():
    class Scaled(nn.Module):
        def __init__(self, gelu: nn.Module) -> None:
            super().__init__()
            self.first, self.gelu, self.last = nn.Linear(24, 96), gelu, nn.Linear(96, 8)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.gelu(self.first(x).mul_(2)))

    class TorchsGELU(nn.GELU):
        pass

    results = []
    for kind in (nn.GELU, TorchsGELU):
        torch.manual_seed(0)
        model = Scaled(kind())
        quantize_model(model, backend="int8", skip=[]).set(8, 8)
        results.append(gradients(model, random(5, 24)))
    assert all(map(torch.equal, *results))


@pytest.mark.parametrize("backend", ["simulated", "int8"])
@pytest.mark.parametrize("reentrant", [True, False])
def test_activation_checkpointing_gives_the_same_gradients(backend, reentrant):
    layers = nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()
    torch.manual_seed(0)
    model = nn.Sequential(*layers, nn.Linear(16 * 9, 64), nn.GELU(), nn.Linear(64, 4))
    quantize_model(model.to(memory_format=torch.channels_last), backend=backend, skip=[]).set(8, 8)

    class Checkpointed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, x: Tensor) -> Tensor:
            return checkpoint(self.model, x, use_reentrant=reentrant)

    plain = gradients(model, images(4, 3, 8, 8))
    model.zero_grad()
    assert all(map(torch.equal, gradients(Checkpointed(), images(4, 3, 8, 8)), plain))


def test_a_gelu_can_be_taken_back_twice_and_without_gradients():
    model = FeedForward(nn.GELU())
    quantize_model(model, backend="int8", skip=[]).set(8, 8)
    loss = model(random(5, 24)).square().sum()
    loss.backward(retain_graph=True)
    first = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    loss.backward()
    assert all(torch.equal(parameter.grad, before) for parameter, before in zip(model.parameters(), first, strict=True))
    with torch.no_grad():
        assert torch.equal(model(random(5, 24)), model(random(5, 24)))


POOLS = [(3, 2, 1), (2, 2, 0), (3, 1, 1), (2, 3, 0), (5, 2, 2)]
"""Kernel, stride and padding: windows that overlap, that touch, and that leave gaps."""


@pytest.mark.parametrize("windows", POOLS, ids=str)
@pytest.mark.parametrize("shape", [(4, 3, 7, 9), (2, 16, 8, 8), (1, 35, 5, 6), (3, 64, 33, 31)], ids=str)
def test_max_pooling_is_torchs_to_the_last_bit(shape, windows):
    x = torch.round(4 * images(*shape)) / 4  # with many that are equal
    module = compact(nn.MaxPool2d(*windows))
    assert type(module) is CompactMaxPool2d
    for left, right in zip(gradients(module, x), gradients(nn.MaxPool2d(*windows), x), strict=True):
        assert torch.equal(left, right)
        assert left.stride() == right.stride()


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_max_pooling_of_broken_numbers_is_torchs(broken):
    x = images(2, 5, 6, 6)
    x[0, :, 2, 3], x[1] = broken, -math.inf
    for left, right in zip(
        gradients(compact(nn.MaxPool2d(3, 2, 1)), x), gradients(nn.MaxPool2d(3, 2, 1), x), strict=True
    ):
        assert torch.equal(left, right) or torch.equal(left.isnan(), right.isnan())


@pytest.mark.parametrize(
    "options",
    [{"ceil_mode": True}, {"dilation": 2}, {"return_indices": True}, {"kernel_size": (3, 2)}, {"kernel_size": 17}],
    ids=str,
)
def test_other_max_pooling_is_left_to_torch(options):
    arguments = {"kernel_size": 3, "stride": 2, "padding": 1} | options
    x = images(2, 4, 18, 18).requires_grad_()
    y = compact(nn.MaxPool2d(**arguments))(x)
    assert (y[0] if isinstance(y, tuple) else y).grad_fn.name() == "MaxPool2DWithIndicesBackward0"


def test_max_pooling_keeps_a_byte_for_each_output():
    x = images(2, 16, 8, 8).requires_grad_()
    assert kept_bytes(compact(nn.MaxPool2d(3, 2, 1)), x) == 2 * 16 * 4 * 4


def test_too_large_a_window_is_refused_as_by_torch():
    with pytest.raises(RuntimeError, match="too small"):
        compact(nn.MaxPool2d(9))(images(2, 4, 8, 8))
    with pytest.raises(RuntimeError, match="pad should be at most half"):
        compact(nn.MaxPool2d(3, 2, 2))(images(2, 4, 8, 8))
