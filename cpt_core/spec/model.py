"""The network."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from cpt_core.spec.base import SpecModel, field_error


class CifarResNet(SpecModel):
    """A ResNet in CIFAR form: 3x3 stem, three groups of basic blocks of 16, 32 and 64 channels (He et al. 2016)."""

    name: Literal[
        "resnet8", "resnet14", "resnet20", "resnet32", "resnet38", "resnet74", "resnet110", "resnet152", "resnet164"
    ]
    """The depth. 6n+2 layers, where resnet164 has n = 27, as in the paper's cost figures."""


class MobileNetV2(SpecModel):
    """MobileNetV2 in CIFAR form. Its depthwise convolutions keep 8 forward and 16 backward bits, as in the paper."""

    name: Literal["mobilenet_v2"]


class ImageNetResNet(SpecModel):
    """A ResNet in ImageNet form: 7x7 stem with pooling (He et al. 2016, as torchvision has it)."""

    name: Literal["resnet18", "resnet34", "resnet50"]
    """The depth. Stem, downsample convolutions and classifier stay in full precision, as in the paper."""


Dropout = Annotated[float, Field(ge=0, lt=1)]


class LstmLM(SpecModel):
    """A word-level LSTM language model (Zaremba et al. 2014). Embedding and decoder stay in full precision."""

    name: Literal["lstm_lm"]
    hidden_size: Annotated[int, Field(ge=1, le=8192)] = 650
    """Units of each layer, and of the embedding."""
    num_layers: Annotated[int, Field(ge=1, le=16)] = 2
    """Layers."""
    dropout: Dropout = 0.5
    """Probability of dropping an input or output of a layer."""


class TransformerLM(SpecModel):
    """A decoder-only transformer language model. Embeddings and decoder stay in full precision.

    It looks back to the beginning of a stretch of `dataset.bptt` words, and has as many positions.
    """

    name: Literal["transformer_lm"]
    d_model: Annotated[int, Field(ge=1, le=8192)] = 512
    """Width of the residual stream."""
    num_layers: Annotated[int, Field(ge=1, le=96)] = 6
    """Layers."""
    num_heads: Annotated[int, Field(ge=1, le=128)] = 8
    """Attention heads of a layer; they share `d_model` evenly."""
    feed_forward: Annotated[int, Field(ge=1, le=32_768)] = 2048
    """Width of a layer's hidden part."""
    dropout: Dropout = 0.1
    """Probability of dropping an output of a layer's parts."""

    @model_validator(mode="after")
    def _heads_share_evenly(self) -> Self:
        if self.d_model % self.num_heads:
            raise field_error("/model/num_heads", f"d_model ({self.d_model}) must be a multiple of num_heads")
        return self


LanguageModelSpec = LstmLM | TransformerLM

ModelSpec = Annotated[CifarResNet | MobileNetV2 | ImageNetResNet | LanguageModelSpec, Field(discriminator="name")]
