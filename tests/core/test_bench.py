"""What `cpt bench` times: forms of a training step that compute the same."""

import pytest
import torch
from torch import nn

from cpt_core.bench.measure import BASE, forms, measure
from cpt_core.bench.naive import quantize_naively
from cpt_core.bench.workloads import WORKLOADS, Images, Text
from cpt_core.quant import quantize_model


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
    timings = measure(workload, forms(), rounds=3)
    assert [timing.form for timing in timings] == forms()
    assert timings[0].form == BASE
    assert timings[0].ratio == 1
    assert all(timing.seconds > 0 and timing.ratio > 0 for timing in timings)


def test_the_workloads_are_models_that_exist():
    for workload in WORKLOADS.values():
        with torch.device("meta"):
            assert sum(parameter.numel() for parameter in workload.build().parameters()) > 10**5
