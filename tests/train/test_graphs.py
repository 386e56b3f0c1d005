"""CUDA graphs: when a model makes one, when it replays it, and who may ask for them.

Replaying itself needs a GPU, where `make gpu-check` holds its numbers equal; here the graph is a function that counts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from cpt_core.models import create_model
from cpt_core.quant import quantize_model
from cpt_core.spec import JobSpec
from cpt_core.train.graphs import LIMIT, GraphedForward
from tests.train.conftest import make_spec, only_end

SPEC: dict[str, Any] = {
    "model": {"name": "resnet8"},
    "dataset": {"name": "digits"},
    "precision": {"schedule": "static", "bits": 8},
    "training": {"steps": 4, "batch_size": 8},
    "resources": {"cuda_graphs": True},
}


class Graphs:
    """Makes graphs that are the model's plain pass, and counts."""

    def __init__(self) -> None:
        self.made = self.replayed = 0

    def __call__(self, model: nn.Module, samples: tuple[Any, ...]) -> Callable[..., Any]:
        self.made += 1
        plain = model.forward
        for _ in range(3):  # as torch does, before it captures
            plain(*samples)
        torch.rand(1)

        def replay(*inputs: Any) -> Any:
            self.replayed += 1
            return plain(*inputs)

        return replay


@pytest.fixture
def graphs() -> Graphs:
    return Graphs()


def images(batch: int = 2) -> Tensor:
    return torch.randn(batch, 3, 8, 8)


def test_a_graph_is_made_once_for_each_mode_and_shape(graphs: Graphs):
    model = create_model("resnet8", num_classes=10)
    precision = quantize_model(model, backend="int8")
    GraphedForward(model, precision.mode, graphs)
    made = []
    for bits, batch in ((8, 2), (3, 2), (12, 2), (32, 2), (8, 2), (12, 2), (8, 4)):
        precision.set(bits, 8)
        model(images(batch))
        made.append(graphs.made)
    # 3 bits take the graph of 8; wider than integers, full precision and another batch are each another one.
    assert made == [1, 1, 2, 3, 3, 3, 4]
    assert graphs.replayed == 7


def test_evaluation_and_passes_without_gradients_go_without(graphs: Graphs):
    model = create_model("resnet8", num_classes=10)
    GraphedForward(model, lambda: None, graphs)
    with torch.no_grad():
        model(images())
    model.eval()(images())
    assert (graphs.made, graphs.replayed) == (0, 0)


def test_what_making_a_graph_does_to_statistics_and_generators_is_undone(graphs: Graphs):
    torch.manual_seed(0)
    models = [create_model("resnet8", num_classes=10) for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    GraphedForward(models[1], lambda: None, graphs)
    x, after = images(), []
    for model in models:
        torch.manual_seed(1)
        model(x)
        after.append((torch.rand(3), model.state_dict()))
    assert torch.equal(after[0][0], after[1][0])
    assert all(map(torch.equal, after[0][1].values(), after[1][1].values()))


def test_a_state_is_part_of_the_inputs(graphs: Graphs):
    model = create_model("lstm_lm", num_classes=20, hidden_size=4)
    GraphedForward(model, lambda: None, graphs)
    words = torch.zeros(2, 3, dtype=torch.int64)
    _, state = model(words)
    for _ in range(2):
        _, state = model(words, tuple(part.detach() for part in state))
    assert (graphs.made, graphs.replayed) == (2, 3)


def test_more_shapes_than_there_are_graphs_for_go_without(graphs: Graphs):
    model = create_model("resnet8", num_classes=10)
    GraphedForward(model, lambda: None, graphs)
    for batch in range(2, 2 + LIMIT + 2):
        model(images(batch))
    assert (graphs.made, graphs.replayed) == (LIMIT, LIMIT)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"resources": {"cuda_graphs": True, "devices": 2}}, "use one device on one node"),
        ({"resources": {"cuda_graphs": True, "nodes": 2}}, "use one device on one node"),
        ({"training": {"steps": 4, "batch_size": 8, "accumulation": 2}}, "set training.accumulation to 1"),
        ({"model": {"name": "timm/resnet10t"}}, "timm/resnet10t may decide step by step what to do"),
    ],
)
def test_jobs_whose_passes_cannot_be_replayed_are_refused(change: dict[str, Any], sentence: str):
    with pytest.raises(ValidationError, match=sentence) as refused:
        JobSpec.model_validate(SPEC | change)
    assert refused.value.errors()[0]["ctx"]["pointer"] == "/resources/cuda_graphs"


def test_built_in_models_and_those_of_torchvision_may_ask_for_them():
    for model in ("resnet8", "torchvision/resnet18"):
        assert JobSpec.model_validate(SPEC | {"model": {"name": model}}).resources.cuda_graphs
    assert not JobSpec.model_validate(SPEC | {"resources": {}}).resources.cuda_graphs


def test_on_a_cpu_they_change_nothing(here):
    ends = []
    for wanted in (True, False):
        _, events = here.train(make_spec(resources={"device": "cpu", "cuda_graphs": wanted}))
        ends.append(only_end(events).result.loss)
    assert ends[0] == ends[1]
