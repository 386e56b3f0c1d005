"""How large the built-in models are, layer by layer as `cpt_core.models` builds them; a test holds both to be equal."""

from __future__ import annotations

from typing import NamedTuple

from cpt_core.cost import Profile
from cpt_core.spec import (
    CifarResNet,
    FolderDataset,
    ImageNetResNet,
    JobSpec,
    LstmLM,
    MobileNetV2,
    TextDatasetSpec,
    TransformerLM,
)


class ModelSize(NamedTuple):
    """A model's size."""

    parameters: int
    """Parameters."""
    profile: Profile
    """Its work on one sample."""


def model_size(spec: JobSpec, outputs: int) -> ModelSize | None:
    """Size of the model that a job trains, for as many classes or words; null for one from outside."""
    model, dataset = spec.model, spec.dataset
    if isinstance(dataset, TextDatasetSpec):
        if isinstance(model, LstmLM):
            return _lstm(model, outputs)
        return _transformer(model, outputs, dataset.bptt) if isinstance(model, TransformerLM) else None
    side = dataset.size if isinstance(dataset, FolderDataset) else 32
    match model:
        case CifarResNet(name=name):
            return _cifar_resnet(CIFAR_BLOCKS[name], side, outputs)
        case MobileNetV2():
            return _mobilenet(side, outputs)
        case ImageNetResNet(name=name):
            return _imagenet_resnet(name, side, outputs)
    return None


CIFAR_BLOCKS = {
    "resnet8": 1,
    "resnet14": 2,
    "resnet20": 3,
    "resnet32": 5,
    "resnet38": 6,
    "resnet74": 12,
    "resnet110": 18,
    "resnet152": 25,
    # Its published cost fits basic blocks with n = 27, one layer fewer than the name would need.
    "resnet164": 27,
}
"""Blocks of each group of a ResNet in CIFAR form."""

IMAGENET_BLOCKS = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3), "resnet50": (3, 4, 6, 3)}
"""Blocks of the groups of a ResNet in ImageNet form."""

# (expansion, channels, blocks, stride of the first block): table 2 of the paper, the strides of the stem and of the
# first two groups being 1.
MOBILENET_GROUPS = (
    (1, 16, 1, 1),
    (6, 24, 2, 1),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


class _Sum:
    """Counts layers as they are passed by an image of `side` x `side` pixels or by a word."""

    def __init__(self, side: int = 1) -> None:
        self.side = side
        self.parameters = self._macs = self._weights = self._activations = self._outputs = 0

    def product(self, macs: int, weights: int, inputs: int, outputs: int) -> None:
        self.parameters += weights
        self._macs += macs
        self._weights += weights
        self._activations += inputs
        self._outputs += outputs

    def convolution(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, *, groups: int = 1, aside: bool = False
    ) -> None:
        """One with norm but without bias, padded to keep the size; `aside`: what follows has the size from before."""
        side = (self.side - 1) // stride + 1
        weights = outputs * inputs // groups * kernel**2
        self.product(side**2 * weights, weights, inputs * self.side**2, outputs * side**2)
        self.parameters += 2 * outputs
        if not aside:
            self.side = side

    def linear(self, inputs: int, outputs: int) -> None:
        self.product(inputs * outputs, inputs * outputs, inputs, outputs)
        self.parameters += outputs

    def result(self) -> ModelSize:
        return ModelSize(self.parameters, Profile(self._macs, self._weights, self._activations, self._outputs))


def _cifar_resnet(blocks: int, side: int, outputs: int) -> ModelSize:
    total = _Sum(side)
    total.convolution(3, 16, 3)
    inputs = 16
    for channels, first_stride in ((16, 1), (32, 2), (64, 2)):
        for stride in (first_stride, *(1,) * (blocks - 1)):
            if stride != 1 or inputs != channels:
                total.convolution(inputs, channels, 1, stride, aside=True)
            else:
                total.parameters += 2 * channels  # every block has the norm of a shortcut, used or not
            total.convolution(inputs, channels, 3, stride)
            total.convolution(channels, channels, 3)
            inputs = channels
    total.linear(inputs, outputs)
    return total.result()


def _mobilenet(side: int, outputs: int) -> ModelSize:
    total = _Sum(side)
    total.convolution(3, 32, 3)
    inputs = 32
    for expansion, channels, blocks, first_stride in MOBILENET_GROUPS:
        for stride in (first_stride, *(1,) * (blocks - 1)):
            if stride == 1 and inputs != channels:
                total.convolution(inputs, channels, 1, aside=True)
            hidden = expansion * inputs
            total.convolution(inputs, hidden, 1)
            total.convolution(hidden, hidden, 3, stride, groups=hidden)
            total.convolution(hidden, channels, 1)
            inputs = channels
    total.convolution(inputs, 1280, 1)
    total.linear(1280, outputs)
    return total.result()


def _imagenet_resnet(name: str, side: int, outputs: int) -> ModelSize:
    total = _Sum(side)
    total.convolution(3, 64, 7, 2)
    total.side = (total.side - 1) // 2 + 1  # pooling
    inputs = 64
    for group, blocks in enumerate(IMAGENET_BLOCKS[name]):
        width = 64 * 2**group
        channels = 4 * width if name == "resnet50" else width
        for block in range(blocks):
            stride = 2 if group and not block else 1
            if stride != 1 or inputs != channels:
                total.convolution(inputs, channels, 1, stride, aside=True)
            if name == "resnet50":
                total.convolution(inputs, width, 1)
                total.convolution(width, width, 3, stride)
                total.convolution(width, channels, 1)
            else:
                total.convolution(inputs, width, 3, stride)
                total.convolution(width, width, 3)
            inputs = channels
    total.linear(inputs, outputs)
    return total.result()


def _lstm(model: LstmLM, words: int) -> ModelSize:
    hidden, total = model.hidden_size, _Sum()
    total.parameters += words * hidden
    for _layer in range(model.num_layers):
        for _weight in ("of the input", "of the state"):
            total.linear(hidden, 4 * hidden)
    total.linear(hidden, words)
    return total.result()


def _transformer(model: TransformerLM, words: int, positions: int) -> ModelSize:
    width, total = model.d_model, _Sum()
    total.parameters += (words + positions) * width
    for _layer in range(model.num_layers):
        for _projection in ("query", "key", "value", "output"):
            total.linear(width, width)
        total.linear(width, model.feed_forward)
        total.linear(model.feed_forward, width)
        total.parameters += 2 * 2 * width  # norms
    total.parameters += 2 * width
    total.linear(width, words)
    return total.result()
