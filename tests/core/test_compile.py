"""torch.compile: one graph for all bit widths, and the numbers of eager mode."""

import pytest
import torch
from torch import nn

from cpt_core.quant import PrecisionState, quantize_model


def model_and_state(backend: str = "simulated") -> tuple[nn.Module, PrecisionState]:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 4, 3),
        nn.Flatten(),
        nn.Linear(64, 8),
        nn.Linear(8, 2),
    )
    return model, quantize_model(model, backend=backend)


def train(model: nn.Module, forward, state: PrecisionState, widths: list[tuple[int, int]]) -> list[torch.Tensor]:
    images = torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    losses = []
    for step, (forward_bits, backward_bits) in enumerate(widths):
        state.set(forward_bits, backward_bits)
        state.reseed(step)
        model.zero_grad()
        loss = forward(images).square().mean()
        loss.backward()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter -= 0.05 * parameter.grad
        losses.append(loss.detach())
    return losses


def compiled_graphs() -> int:
    return torch._dynamo.utils.counters["stats"]["unique_graphs"]


@pytest.fixture(autouse=True)
def _fresh_compiler():
    torch.compiler.reset()
    torch._dynamo.utils.counters.clear()
    yield
    torch.compiler.reset()


def test_one_graph_serves_all_widths_and_full_precision_is_one_more():
    model, state = model_and_state()
    forward = torch.compile(model, fullgraph=True, backend="aot_eager")
    train(model, forward, state, [(bits, grad) for bits in range(2, 17) for grad in (4, 8)])
    assert compiled_graphs() == 1
    train(model, forward, state, [(32, 32), (0, 8), (5, 8)])
    assert compiled_graphs() == 2


def test_the_compiled_graph_trains_like_eager_mode():
    widths = [(8, 8), (3, 6), (5, 8), (32, 32), (4, 32), (8, 8)]
    model, state = model_and_state()
    eager = train(model, model, state, widths)
    twin, twin_state = model_and_state()
    forward = torch.compile(twin, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(train(twin, forward, twin_state, widths), eager)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(twin.state_dict()[name], value)


@pytest.mark.parametrize("backend", ["int8", "fp8"])
def test_layers_that_multiply_codes_are_simulated_in_the_compiled_graph(backend):
    widths = [(8, 8), (3, 6), (5, 8), (8, 8)]
    model, state = model_and_state()
    simulated = train(model, model, state, widths)
    twin, twin_state = model_and_state(backend)
    forward = torch.compile(twin, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(train(twin, forward, twin_state, widths), simulated)
    assert compiled_graphs() == 1


def test_a_large_lstm_compiles_without_the_layouts_that_eager_mode_keeps():
    torch.manual_seed(0)
    model = nn.LSTM(8, 260)  # its recurrent weight is one that is laid out once for all time steps
    state = quantize_model(model, skip=[])
    state.set(8, 8)
    x = torch.randn(3, 2, 8)
    expected, _ = model(x)
    calls = []

    def backend(graph: torch.fx.GraphModule, _inputs: object) -> torch.fx.GraphModule:
        calls.extend(str(node.target) for node in graph.graph.nodes if node.op == "call_function")
        return graph

    compiled, _ = torch.compile(model, backend=backend)(x)
    torch.testing.assert_close(compiled, expected)
    assert calls
    assert not [call for call in calls if "mkldnn" in call]
