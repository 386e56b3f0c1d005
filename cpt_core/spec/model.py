"""The network."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import (
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

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


IMAGE_SOURCES = ("timm", "torchvision")
"""Sources of external models that take images alone."""


def _one_error(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
    """One error for a union without a tag, instead of one for each of its members."""
    try:
        return handler(value)
    except ValidationError as error:
        raise PydanticCustomError(
            "model_option",
            "must be null, true, false, a number below 10^12, a string of up to 200 characters, or a list of up to "
            "256 of these",
        ) from error


OptionName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,62}$")]
_Whole = Annotated[int, Field(gt=-(10**12), lt=10**12)]
_Fraction = Annotated[float, Field(gt=-1e12, lt=1e12)]
_Scalar = bool | _Whole | _Fraction | Annotated[str, StringConstraints(max_length=200)] | None
OptionValue = Annotated[_Scalar | Annotated[list[_Scalar], Field(max_length=256)], WrapValidator(_one_error)]


class ExternalModel(SpecModel):
    """A model from a library, or one's own, by SOURCE/ARCHITECTURE; its weights are fresh, nothing is downloaded.

    Sources are `torchvision`, `timm` and `transformers`, and the names of entry points installed on the worker. Only
    the worker knows what it has, so a name or an option that it does not know ends the job with `spec_error`.
    """

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}/[A-Za-z0-9][A-Za-z0-9._-]{0,126}$")]
    """Such as `torchvision/mobilenet_v3_small`, `timm/resnet10t`, `transformers/gpt2`, `acme/tiny_net`."""
    options: Annotated[dict[OptionName, OptionValue], Field(max_length=64)] = {}
    """Keyword arguments of the architecture: what is not given is as in the library, fit to the dataset."""

    @field_validator("options")
    @classmethod
    def _outputs_are_the_datasets(cls, value: dict[str, Any]) -> dict[str, Any]:
        if "num_classes" in value:
            raise PydanticCustomError("model_option", "num_classes is the dataset's: leave it out")
        return value

    @property
    def source(self) -> str:
        """What stands before the slash."""
        return self.name.partition("/")[0]


BuiltInModelSpec = Annotated[
    CifarResNet | MobileNetV2 | ImageNetResNet | LstmLM | TransformerLM, Field(discriminator="name")
]


def _kind(model: Any) -> str:
    name = model.get("name") if isinstance(model, dict) else getattr(model, "name", None)
    return "external" if isinstance(name, str) and "/" in name else "built-in"


ModelSpec = Annotated[
    Annotated[BuiltInModelSpec, Tag("built-in")] | Annotated[ExternalModel, Tag("external")], Discriminator(_kind)
]
