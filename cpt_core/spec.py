"""The job spec: one strict, versionless pydantic model for YAML files, HTTP bodies and the trainer.

Unknown fields are errors, every number has bounds, and every error names its field by JSON pointer
(RFC 6901), see `problems`. This module must not import torch: the API validates with it.
"""

from __future__ import annotations

import itertools
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError

from cpt_core.schedules import CyclicName, Period, Schedule, make

Bits = Annotated[int, Field(ge=2, le=32)]
"""A bit width: 2 to 16, or 32 for full precision (nothing is quantised)."""

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]


class SpecModel(BaseModel):
    """Base of every part of a spec: strict types, no unknown fields, no NaN or infinity, immutable."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


def field_error(pointer: str, message: str) -> PydanticCustomError:
    """An error of a rule between fields, which names the field to change by JSON pointer."""
    escaped = message.replace("{", "(").replace("}", ")")
    return PydanticCustomError("cross_field", escaped, {"pointer": pointer})


def _check_bits(bits: int, pointer: str) -> None:
    if 16 < bits < 32:
        raise field_error(pointer, f"{bits} bits cannot be trained: use 2 to 16, or 32 for full precision")


class CifarResNet(SpecModel):
    """A ResNet in CIFAR form: 3x3 stem, three groups of basic blocks of 16, 32 and 64 channels (He et al. 2016)."""

    name: Literal[
        "resnet8", "resnet14", "resnet20", "resnet32", "resnet38", "resnet74", "resnet110", "resnet152", "resnet164"
    ]
    """The depth. 6n+2 layers, where resnet164 has n = 27, as in the paper's cost figures."""


ModelSpec = CifarResNet


class DatasetBase(SpecModel):
    """What every image dataset has in common."""

    augment: Literal["none", "crop_flip"] = "none"
    """`crop_flip`: random crop with padding 4 and horizontal flip, a function of (seed, epoch, index)."""


class DigitsDataset(DatasetBase):
    """scikit-learn's bundled digits, enlarged to 3x32x32: 1,437 training and 360 test images. Needs no files."""

    name: Literal["digits"]


class FileDataset(DatasetBase):
    """What datasets in files have in common."""

    path: Annotated[str, StringConstraints(min_length=1, max_length=500)]
    """Folder of the data, relative to the server's (or `--data-root`'s) data root."""

    @field_validator("path")
    @classmethod
    def _inside_the_data_root(cls, value: str) -> str:
        path = PurePosixPath(value)
        if path.is_absolute() or ".." in path.parts or "\\" in value or "\x00" in value:
            raise PydanticCustomError(
                "path_outside_root", "must be a folder below the data root: relative, without '..' or backslashes"
            )
        return value


class IdxDataset(FileDataset):
    """Images in idx files (MNIST, Fashion-MNIST; gzipped or not), padded to 32x32 and repeated to 3 channels."""

    name: Literal["idx"]


class CifarDataset(FileDataset):
    """CIFAR-10 or CIFAR-100 in torchvision's folder layout."""

    name: Literal["cifar10", "cifar100"]
    augment: Literal["none", "crop_flip"] = "crop_flip"
    """`crop_flip`: random crop with padding 4 and horizontal flip, a function of (seed, epoch, index)."""
    download: bool = False
    """Fetch the archive when it is not there. Off by default: a job does not reach out unless it says so."""


DatasetSpec = Annotated[DigitsDataset | IdxDataset | CifarDataset, Field(discriminator="name")]


class PrecisionBase(SpecModel):
    """What every precision schedule has in common."""

    gradient_bits: Bits = 8
    """Bit width of the errors (gradients at layer outputs) in the backward pass; constant. 32: not quantised."""
    quantizer: Literal["sbm"] = "sbm"
    """The quantiser: `sbm` (Banner et al. 2018), affine min/max with stochastic rounding of the errors."""
    backend: Literal["simulated"] = "simulated"
    """How quantised products are computed: `simulated` in floating point."""

    @field_validator("gradient_bits")
    @classmethod
    def _trainable(cls, value: int) -> int:
        _check_bits(value, "/precision/gradient_bits")
        return value


class StaticPrecision(PrecisionBase):
    """The same bit width in every step; 32 is plain fp32 training."""

    schedule: Literal["static"]
    bits: Bits = 8
    """Bit width of weights and activations."""

    @field_validator("bits")
    @classmethod
    def _trainable_bits(cls, value: int) -> int:
        _check_bits(value, "/precision/bits")
        return value

    @property
    def max_bits(self) -> int:
        """The highest bit width of the schedule."""
        return self.bits

    def forward_schedule(self, steps: int) -> Schedule:
        """Bit widths of weights and activations over `steps` steps."""
        return make("static", steps=steps, max_bits=self.bits)


class CyclicPrecision(PrecisionBase):
    """A bit width that cycles between two bounds: `cosine` is CPT (Fu et al. 2021), the others its follow-up's."""

    schedule: CyclicName
    min_bits: Bits = 3
    """B_min: where each cycle starts (for `cosine`)."""
    max_bits: Bits = 8
    """B_max."""
    cycles: Annotated[int, Field(ge=1, le=1_000_000)] = 32
    """N, the number of cycles over the whole training; 32 in the paper."""
    period: Period = "floor"
    """Steps of a cycle: int(steps / cycles), or one more, as the follow-up's CIFAR loops have it."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        _check_bits(self.min_bits, "/precision/min_bits")
        _check_bits(self.max_bits, "/precision/max_bits")
        if self.min_bits > self.max_bits:
            raise field_error(
                "/precision/min_bits",
                f"min_bits ({self.min_bits}) must not be above max_bits ({self.max_bits}): lower it or raise max_bits",
            )
        if self.max_bits == 32 and self.min_bits != 32:
            raise field_error("/precision/max_bits", "a cycle ends at 16 bits at most; 32 is only for static schedules")
        return self

    def forward_schedule(self, steps: int) -> Schedule:
        """Bit widths of weights and activations over `steps` steps."""
        return make(
            self.schedule,
            steps=steps,
            cycles=self.cycles,
            min_bits=self.min_bits,
            max_bits=self.max_bits,
            period=self.period,
        )


PrecisionSpec = Annotated[StaticPrecision | CyclicPrecision, Field(discriminator="schedule")]

LearningRate = Annotated[float, Field(gt=0, le=1000)]


class Sgd(SpecModel):
    """Stochastic gradient descent with momentum; the authors' settings are the defaults."""

    name: Literal["sgd"]
    lr: LearningRate = 0.1
    """Learning rate before its schedule."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Momentum."""
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 1e-4
    """L2 penalty."""
    nesterov: bool = False
    """Nesterov momentum."""

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> Self:
        if self.nesterov and self.momentum == 0:
            raise field_error(
                "/optimizer/nesterov", "nesterov needs a momentum above 0: set momentum or nesterov: false"
            )
        return self


class AdamW(SpecModel):
    """Adam with decoupled weight decay."""

    name: Literal["adamw"]
    lr: LearningRate = 1e-3
    """Learning rate before its schedule."""
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Decay of the first moment."""
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """Decay of the second moment."""
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.01
    """Decoupled weight decay."""


OptimizerSpec = Annotated[Sgd | AdamW, Field(discriminator="name")]


class LrScheduleBase(SpecModel):
    """What every learning rate schedule has in common."""

    warmup_steps: Annotated[int, Field(ge=0, le=10_000_000)] = 0
    """Steps at `warmup_lr` before the schedule takes over (the authors: 400 for ResNet-110 and deeper)."""
    warmup_lr: LearningRate = 0.01
    """Learning rate of the warm-up steps."""


class ConstantLr(LrScheduleBase):
    """The same learning rate throughout."""

    name: Literal["constant"]


class MultiStepLr(LrScheduleBase):
    """Multiply by `gamma` at each milestone."""

    name: Literal["multistep"]
    milestones: Annotated[list[Annotated[int, Field(ge=1, le=10_000_000)]], Field(min_length=1, max_length=100)]
    """Steps at which the learning rate is multiplied by `gamma`, ascending."""
    gamma: Annotated[float, Field(gt=0, le=1)] = 0.1
    """The factor."""

    @field_validator("milestones")
    @classmethod
    def _ascending(cls, value: list[int]) -> list[int]:
        if any(later <= earlier for earlier, later in itertools.pairwise(value)):
            raise PydanticCustomError("not_ascending", "milestones must be strictly ascending")
        return value


class CosineLr(LrScheduleBase):
    """Half a cosine from the optimiser's learning rate to `final_lr` over the whole training."""

    name: Literal["cosine"]
    final_lr: Annotated[float, Field(ge=0, le=1000)] = 0.0
    """Learning rate at the end."""


LrScheduleSpec = Annotated[ConstantLr | MultiStepLr | CosineLr, Field(discriminator="name")]


class TrainingSpec(SpecModel):
    """How long, in what batches, from which seed."""

    steps: Annotated[int, Field(ge=1, le=10_000_000)]
    """Optimiser steps in all."""
    batch_size: Annotated[int, Field(ge=1, le=65_536)] = 128
    """Samples per optimiser step, over all devices."""
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 0
    """Seed of initial weights, data order, augmentation and stochastic rounding."""


class EvaluationSpec(SpecModel):
    """When and at which bit width quality is measured."""

    every_steps: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    """Steps between evaluations; null: only at the end, which is always evaluated."""
    bits: Bits | None = None
    """Bit width of weights and activations in evaluation; null: the schedule's highest."""
    batch_size: Annotated[int, Field(ge=1, le=65_536)] = 500
    """Samples per evaluation batch, over all devices."""

    @field_validator("bits")
    @classmethod
    def _evaluable(cls, value: int | None) -> int | None:
        if value is not None:
            _check_bits(value, "/evaluation/bits")
        return value


class CheckpointSpec(SpecModel):
    """When the state of training is saved; a stop on request and the end always save."""

    every_steps: Annotated[int, Field(ge=1, le=10_000_000)] = 1000
    """Steps between checkpoints."""
    keep_last: Annotated[int, Field(ge=1, le=1000)] = 3
    """Registered checkpoints to keep; older ones are deleted."""


class ResourceSpec(SpecModel):
    """Where the job runs."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Kind of device; `auto`: what the worker has."""
    devices: Annotated[int, Field(ge=1, le=64)] = 1
    """Devices, and so DDP processes (ranks)."""
    queue: Name = "default"
    """Queue to wait in; workers listen to named queues."""
    priority: Annotated[int, Field(ge=-100, le=100)] = 0
    """Higher starts first within a queue; equal priorities start in the order of submission."""


class JobSpec(SpecModel):
    """One training job. The same document works as YAML for `cpt train` and `cpt submit` and as JSON over HTTP."""

    model_config = ConfigDict(title="JobSpec")

    name: Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]*$")] = "untitled"
    """A label for people; need not be unique."""
    model: ModelSpec
    """The network."""
    dataset: DatasetSpec
    """The data."""
    precision: PrecisionSpec
    """The precision schedule."""
    optimizer: OptimizerSpec = Sgd(name="sgd")
    """The optimiser."""
    lr_schedule: LrScheduleSpec = ConstantLr(name="constant")
    """The learning rate schedule."""
    training: TrainingSpec
    """Length, batches, seed."""
    evaluation: EvaluationSpec = EvaluationSpec()
    """Evaluation."""
    checkpoint: CheckpointSpec = CheckpointSpec()
    """Checkpoints."""
    resources: ResourceSpec = ResourceSpec()
    """Devices and queue."""

    @model_validator(mode="after")
    def _cross_field_rules(self) -> Self:
        steps, devices = self.training.steps, self.resources.devices
        if isinstance(self.precision, CyclicPrecision) and self.precision.cycles > steps:
            raise field_error(
                "/precision/cycles",
                f"{self.precision.cycles} cycles do not fit in {steps} steps: "
                "a cycle needs at least one step; lower cycles or raise training.steps",
            )
        for where, size in (("training", self.training.batch_size), ("evaluation", self.evaluation.batch_size)):
            if size % devices:
                raise field_error(
                    f"/{where}/batch_size", f"{size} samples cannot be split evenly over {devices} devices"
                )
        if self.lr_schedule.warmup_steps > steps:
            raise field_error("/lr_schedule/warmup_steps", f"must not be above training.steps ({steps})")
        return self


def problems(error: ValidationError) -> list[dict[str, str]]:
    """The errors of a spec's validation as `{pointer, code, message}`, see `problem`."""
    return [problem(item["loc"], item["type"], item["msg"], item.get("ctx", {})) for item in error.errors()]


# Tagged unions: pydantic puts the chosen member's tag into `loc` between the field and the member's own field, and
# blames the field where the tag itself is wrong.
_TAGS = {"precision": "schedule", "dataset": "name", "optimizer": "name", "lr_schedule": "name"}


def problem(loc: tuple[int | str, ...], code: str, message: str, ctx: dict[str, Any]) -> dict[str, str]:
    """One of pydantic's errors as `{pointer, code, message}`, pointer being an RFC 6901 JSON pointer to the field."""
    if "pointer" in ctx:
        return {"pointer": str(ctx["pointer"]), "code": code, "message": message}
    parts = list(loc)
    tag = _TAGS.get(str(parts[0])) if parts else None
    if tag and code.startswith("union_tag"):
        parts.append(tag)
    elif tag and len(parts) > 2:
        del parts[1]
    pointer = "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)
    return {"pointer": pointer, "code": code, "message": message}


def load(path: str | Path) -> JobSpec:
    """Read a spec from a YAML (or JSON) file.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no YAML mapping; pydantic's ValidationError (a ValueError): it is no valid spec.
    """
    try:
        document = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(document, dict):
        raise ValueError(f"{path} must hold a mapping of fields (model, dataset, precision, training, …)")
    return JobSpec.model_validate(document)
