"""Training steps to be timed: a model, a batch of random data and an optimiser, of published sizes.

Language models have no dropout: torch draws its mask serially on a CPU, a seventh of the transformer's step in every
form, and what is compared here is arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cpt_core import products
from cpt_core.models import create_model
from cpt_core.products import Product
from cpt_core.spec import AdamW, Sgd
from cpt_core.train.optimizer import make_optimizer

VOCABULARY = 10_000
"""Words of the language models."""


@dataclass(frozen=True, slots=True)
class Step:
    """One training step on the same batch at each call: forward, backward, update."""

    optimizer: torch.optim.Optimizer
    """Holds the parameters, and after the first step its own state."""
    loss: Callable[[], Tensor]
    """The forward pass."""

    def __call__(self) -> None:
        """Take the step."""
        self.optimizer.zero_grad()
        self.loss().backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()

    def parameters(self) -> list[Tensor]:
        """What is trained."""
        return [parameter for group in self.optimizer.param_groups for parameter in group["params"]]

    def state_bytes(self) -> int:
        """Size of the weights, their gradients and the optimiser's state."""
        parameters = self.parameters()
        state = [value for values in self.optimizer.state.values() for value in values.values()]
        return sum(tensor.nbytes for tensor in [*parameters, *parameters, *state] if isinstance(tensor, Tensor))


@dataclass(frozen=True, slots=True)
class Images:
    """A classifier of images on random ones, with momentum SGD."""

    model: str
    batch_size: int = 128
    side: int = 32
    classes: int = 10

    @property
    def title(self) -> str:
        """What tables call it."""
        return f"{self.model}, {self.side} pixels, batch {self.batch_size}"

    def macs(self) -> int:
        """Multiply-accumulates of a step's products with weights: the output, and the gradients of input and weight.

        The images themselves need no gradient, so the first layer makes two.
        """
        made = self.products()
        return self.batch_size * (3 * sum(product.macs for product in made) - made[0].macs)

    def products(self) -> list[Product]:
        """Those with weights on one image, in the order of the layers."""
        return products.count(self.build(), (3, self.side, self.side))

    def build(self) -> nn.Module:
        """The model with fresh weights, in the memory format that suits it best."""
        model = create_model(self.model, num_classes=self.classes)
        return model.to(memory_format=torch.channels_last)

    def step(self, model: nn.Module) -> Step:
        """A training step of `model`."""
        images = torch.randn(self.batch_size, 3, self.side, self.side).contiguous(memory_format=torch.channels_last)
        labels = torch.randint(self.classes, (self.batch_size,))
        optimizer = make_optimizer(Sgd(name="sgd", lr=0.01, momentum=0.9, weight_decay=1e-4), model)
        return Step(optimizer, lambda: F.cross_entropy(model(images), labels))


@dataclass(frozen=True, slots=True)
class Text:
    """A language model on random words, with AdamW."""

    model: str
    batch_size: int
    bptt: int
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """What tables call it."""
        return f"{self.model}, {self.bptt} words, batch {self.batch_size}"

    def macs(self) -> int:
        """Multiply-accumulates of a step's products with weights: the output, and the gradients of input and weight.

        Products of activations with each other, the scores of attention, are not among them.
        """
        return 3 * self.batch_size * sum(product.macs for product in self.products())

    def products(self) -> list[Product]:
        """Those with weights on one text of `bptt` words, in the order of the layers."""
        return products.count(self.build(), (self.bptt,))

    def build(self) -> nn.Module:
        """The model with fresh weights."""
        return create_model(self.model, num_classes=VOCABULARY, dropout=0.0, **self.options)

    def step(self, model: nn.Module) -> Step:
        """A training step of `model`."""
        words = torch.randint(VOCABULARY, (self.batch_size, self.bptt + 1))
        inputs, targets = words[:, :-1].contiguous(), words[:, 1:].flatten()

        def loss() -> Tensor:
            output = model(inputs)
            logits: Tensor = output[0] if isinstance(output, tuple) else output
            return F.cross_entropy(logits.flatten(0, 1), targets)

        return Step(make_optimizer(AdamW(name="adamw", lr=1e-4), model), loss)


Workload = Images | Text

WORKLOADS: dict[str, Workload] = {
    "resnet38": Images("resnet38"),
    "resnet74": Images("resnet74"),
    "resnet18": Images("resnet18", batch_size=16, side=224, classes=1000),
    "mobilenet_v2": Images("mobilenet_v2"),
    "transformer_lm": Text("transformer_lm", batch_size=16, bptt=256),
    "lstm_lm": Text("lstm_lm", batch_size=20, bptt=35),
}
"""What `cpt bench` can time, by name."""
