"""What `cpt bench` times: forms of a training step that compute the same."""

import time

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from cpt_core import onednn
from cpt_core.bench import forms
from cpt_core.bench.forms import BASE, FORMS, NAIVE
from cpt_core.bench.joules import measure_joules
from cpt_core.bench.machine import Machine, measure_machine
from cpt_core.bench.measure import measure
from cpt_core.bench.naive import quantize_naively
from cpt_core.bench.saved import saved_bytes
from cpt_core.bench.workloads import WORKLOADS, Images, Step, Text
from cpt_core.energy import EnergyMeter
from cpt_core.energy.counter import Counter
from cpt_core.events import EnergySource
from cpt_core.models import create_model
from cpt_core.quant import quantize_model

MACHINE = Machine(cpu="any", instructions=[], threads=1, torch="any", fp32_macs=1e9, bandwidth=1e9)


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.Flatten(), nn.Linear(64, 5)), (6, 3, 6, 6)),
        (nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 5)), (6, 8)),
        (nn.Sequential(nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True), nn.Linear(8, 5)), (3, 4, 8)),
        # Of one time step: the naive form has a range for each, ours one for the sequence.
        (nn.ModuleList([nn.LSTM(8, 8, 2, batch_first=True), nn.Linear(8, 5)]), (3, 1, 8)),
    ],
    ids=["conv", "linear", "attention", "lstm"],
)
def test_the_naive_form_computes_what_the_quantised_layers_compute(model, shape):
    def output(layers: nn.Module) -> torch.Tensor:
        x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        for layer in layers:
            mask = nn.Transformer.generate_square_subsequent_mask(shape[1])
            x = layer(x, src_mask=mask, is_causal=True) if isinstance(layer, nn.TransformerEncoderLayer) else layer(x)
            x = x[0] if isinstance(x, tuple) else x
        return x

    naive = type(model)(*([list(model)] if isinstance(model, nn.ModuleList) else model))
    state = {name: tensor.clone() for name, tensor in naive.state_dict().items()}
    quantize_naively(naive)
    theirs = output(naive)
    for module in naive.modules():
        if type(module).__name__.startswith("Naive"):
            module.__class__ = type(module).__mro__[1]
    naive.load_state_dict(state)
    quantize_model(naive).set(8, 8)
    torch.testing.assert_close(output(naive), theirs)


@pytest.mark.parametrize(
    "workload",
    [
        Images("resnet8", batch_size=2),
        Text("lstm_lm", batch_size=2, bptt=3, options={"hidden_size": 8}),
        Text("transformer_lm", batch_size=2, bptt=3, options={"d_model": 8, "num_layers": 1, "num_heads": 2}),
    ],
    ids=lambda workload: workload.model,
)
def test_every_form_of_a_step_is_timed_against_fp32_in_the_same_rounds(workload):
    timings = measure(workload, forms.defaults(), MACHINE, rounds=3).timings
    assert [timing.form for timing in timings] == forms.defaults()
    assert timings[0].form == BASE
    assert timings[0].ratio == timings[0].saved_ratio == 1
    assert all(timing.seconds > 0 and timing.ratio > 0 and timing.saved_bytes > 0 for timing in timings)
    (naive,) = [timing for timing in timings if timing.form == NAIVE]
    assert naive.over_naive == 1


def test_without_the_naive_form_nothing_is_compared_with_it():
    benchmark = measure(Images("resnet8", batch_size=2), ["simulated"], MACHINE, rounds=2)
    assert [(timing.form, timing.over_naive) for timing in benchmark.timings] == [(BASE, None), ("simulated", None)]


def test_the_form_tf32_lets_products_and_convolutions_take_it_and_the_others_do_not():
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    before = products.allow_tf32, convolutions.allow_tf32
    for form, allowed in (("tf32", True), (BASE, False)):
        with FORMS[form].within("cuda"):
            assert (products.allow_tf32, convolutions.allow_tf32) == (allowed, allowed)
        assert (products.allow_tf32, convolutions.allow_tf32) == before
    assert FORMS["tf32"].available("cuda")
    assert "tf32" not in forms.available("cpu")


def test_joules_of_a_step_are_over_a_window_of_many():
    one_watt = EnergyMeter(EnergySource(source="rapl", scope="a test"), [Counter(time.perf_counter_ns, 1e-9)])
    began, workload = time.perf_counter(), Images("resnet8", batch_size=2)
    joules = measure_joules(workload, ["fp32", "simulated"], one_watt, seconds=0.5)
    assert time.perf_counter() - began > 2 * 0.5
    assert list(joules) == ["fp32", "simulated"]
    assert all(0 < joule < 0.5 for joule in joules.values())  # so that there were several steps to a window


def test_without_a_counter_the_joules_of_a_step_are_not_known():
    nothing = EnergyMeter(EnergySource(source=None, reason="a test"))
    assert measure_joules(Images("resnet8", batch_size=2), ["fp32"], nothing, seconds=0) == {"fp32": None}


def test_forms_that_take_minutes_to_begin_wait_to_be_asked_for():
    assert set(forms.defaults()) <= set(forms.available()) <= set(FORMS)
    assert "simulated, torch.compile" not in forms.defaults()


def test_the_naive_form_leaves_alone_the_layers_that_ours_leaves_alone():
    ours, theirs = (create_model("resnet18", num_classes=10) for _ in range(2))
    layers = quantize_model(ours).layers
    quantize_naively(theirs)
    assert [name for name, layer in theirs.named_modules() if type(layer).__name__.startswith("Naive")] == layers


def linear_step(features: int, batch: int) -> Step:
    model, x = nn.Linear(features, features, bias=False), torch.randn(batch, features)
    return Step(torch.optim.AdamW(model.parameters()), lambda: model(x).square().sum())


def test_saved_are_the_tensors_of_the_backward_pass_once_each_without_parameters():
    step = linear_step(features=8, batch=4)
    # The input for the weight's gradient and the output for the square's; the weight itself is a parameter.
    assert saved_bytes(step, step.parameters()) == 2 * 4 * 8 * 4
    assert saved_bytes(step, []) == 2 * 4 * 8 * 4  # the input needs no gradient, so the weight is not kept


def test_views_of_one_piece_of_memory_count_once_and_whole():
    x = torch.randn(6, requires_grad=True)
    step = Step(torch.optim.SGD([x]), lambda: (x * 2).view(2, 3).square().sum() + (x * 1)[:1].exp().sum())
    doubled, first = 6 * 4, 1 * 4  # exp keeps its result
    assert saved_bytes(step, [x]) == doubled + first


def test_what_moves_at_least_is_weights_gradients_optimiser_state_and_what_is_saved_twice():
    step = linear_step(features=8, batch=4)
    step()
    weights = 8 * 8 * 4
    steps_taken = 4  # AdamW counts them, in float32
    assert step.state_bytes() == weights + weights + 2 * weights + steps_taken
    workload = Images("resnet8", batch_size=2)
    benchmark = measure(workload, [], MACHINE, rounds=2)
    (fp32,) = benchmark.timings
    weights = sum(parameter.nbytes for parameter in workload.build().parameters())
    weights -= 2 * 16 * 4  # a norm that the published model has, and neither uses nor trains
    assert fp32.moved_bytes == 2 * (3 * weights + fp32.saved_bytes)
    assert fp32.memory_seconds == pytest.approx(fp32.moved_bytes / MACHINE.bandwidth)
    assert benchmark.arithmetic_seconds == pytest.approx(workload.macs() / MACHINE.fp32_macs)
    assert fp32.times_floor == pytest.approx(fp32.seconds / max(fp32.memory_seconds, benchmark.arithmetic_seconds))


def test_multiply_accumulates_of_a_step_are_three_products_of_each_layer_but_two_of_the_first_one_of_images():
    # 83.28 million multiply-accumulates of ResNet-38's forward pass, 3 x 16 x 9 x 32 x 32 of them in the first layer.
    assert Images("resnet38").macs() / 128 == pytest.approx(3 * 83.28e6 - 442_368, rel=1e-4)
    # 4 products of 650 x 2600, and the decoder.
    assert WORKLOADS["lstm_lm"].macs() == 3 * 20 * 35 * (4 * 650 * 2600 + 650 * 10_000)


def test_the_machines_peaks_are_those_of_its_threads():
    machine = measure_machine(side=64, elements=2**12)
    assert machine.threads == torch.get_num_threads()
    assert machine.torch == torch.__version__
    assert machine.cpu
    assert machine.fp32_macs > 10**6
    assert machine.bandwidth > 10**6


def test_the_workloads_are_models_that_exist():
    for workload in WORKLOADS.values():
        with torch.device("meta"):
            assert sum(parameter.numel() for parameter in workload.build().parameters()) > 10**5


def test_the_language_models_have_no_dropout():
    for workload in WORKLOADS.values():
        if isinstance(workload, Text):
            assert all(layer.p == 0 for layer in workload.build().modules() if isinstance(layer, nn.Dropout))


@pytest.mark.parametrize("name", [BASE, "simulated, PyTorch only", "simulated", "int8"])
def test_our_forms_have_the_products_that_a_training_has(name):
    with FORMS[name].within("cpu"):
        taken = F.linear
    with onednn.linear_layers():
        assert taken is F.linear
