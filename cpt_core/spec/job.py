"""The whole document, and the rules between its parts."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, StringConstraints, model_validator

from cpt_core.spec.base import Bits, Labels, Name, SpecModel, field_error
from cpt_core.spec.dataset import DatasetSpec, TextDatasetSpec
from cpt_core.spec.model import IMAGE_SOURCES, ExternalModel, LanguageModelSpec, ModelSpec
from cpt_core.spec.optimization import ConstantLr, LrScheduleSpec, OptimizerSpec, Sgd, WeightAveraging
from cpt_core.spec.precision import AutoPrecision, PrecisionSpec


class TrainingSpec(SpecModel):
    """How long, in what batches, from which seed."""

    steps: Annotated[int, Field(ge=1, le=10_000_000)]
    """Optimiser steps in all."""
    batch_size: Annotated[int, Field(ge=1, le=65_536)] = 128
    """Images, or parallel streams of text, of an optimiser step, over all devices."""
    accumulation: Annotated[int, Field(ge=1, le=1024)] = 1
    """Parts in which a device takes its share of a batch, one forward and backward pass each, to need less memory."""
    clip_norm: Annotated[float, Field(gt=0, le=1e6)] | None = None
    """Longest gradient, as the L2 norm over all parameters; a longer one is scaled down. Null: no clipping."""
    averaging: WeightAveraging | None = None
    """Average weights over the last part of training; null: the last weights are the result."""
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 0
    """Seed of initial weights, data order, augmentation and stochastic rounding."""


class EvaluationSpec(SpecModel):
    """When and at which bit width quality is measured."""

    every_steps: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    """Steps between evaluations; null: only at the end, which is always evaluated."""
    bits: Bits | None = None
    """Bit width of weights and activations in evaluation; null: the schedule's highest."""
    batch_size: Annotated[int, Field(ge=1, le=65_536)] | None = None
    """Images, or parallel streams of text, of an evaluation batch, over all devices; null: 500 images, or as many
    streams as in training. The state of a language model begins anew in each stream, so few streams suit it better."""


class CheckpointSpec(SpecModel):
    """When the state of training is saved; a stop on request and the end always save."""

    every_steps: Annotated[int, Field(ge=1, le=10_000_000)] = 1000
    """Steps between checkpoints."""
    keep_last: Annotated[int, Field(ge=1, le=1000)] = 3
    """Registered checkpoints to keep; older ones are deleted."""
    keep_best: bool = False
    """Also make and keep a checkpoint after the best evaluation so far, whatever `every_steps` and `keep_last` say."""


class ResourceSpec(SpecModel):
    """Where the job runs."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Kind of device; `auto`: what the worker has."""
    devices: Annotated[int, Field(ge=1, le=64)] = 1
    """Devices of each node, and so its DDP processes (ranks)."""
    nodes: Annotated[int, Field(ge=1, le=64, exclude_if=lambda nodes: nodes == 1)] = 1
    """Slots of workers, on one machine or several, that train the job together; all are had at once, or none."""
    min_nodes: Annotated[int | None, Field(ge=1, le=64, exclude_if=lambda nodes: nodes is None)] = None
    """So few will do, where the workers that are there cannot hold `nodes`; null: all are needed. A run that goes on
    with another number of nodes does not equal an unbroken one."""
    tf32: Annotated[bool, Field(exclude_if=lambda wanted: not wanted)] = False
    """Let tensor cores of a GPU round the factors of float32 products to 10 bits: faster, and not a CPU's numbers."""
    deterministic: Annotated[bool, Field(exclude_if=lambda wanted: wanted)] = True
    """Have GPUs use algorithms that give the same bits each time, where there are any, so that a resumed run equals an
    unbroken one; a CPU always does."""
    cuda_graphs: Annotated[bool, Field(exclude_if=lambda wanted: not wanted)] = False
    """Have a GPU replay forward and backward passes as CUDA graphs, which saves the time that launching each kernel
    takes. For built-in models and torchvision's, on one device, without accumulation; same numbers, more memory. On a
    CPU it changes nothing."""
    queue: Name = "default"
    """Queue to wait in; workers listen to named queues."""
    priority: Annotated[int, Field(ge=-100, le=100)] = 0
    """Higher starts first within a queue; among equal ones the project with the fewest devices in use, then the oldest
    job."""
    labels: Labels = ()
    """Labels that a worker must have, all of them, such as `a100` or `eu`; workers name theirs in `CPT_LABELS`."""


Seconds = Annotated[float, Field(gt=0, le=31_536_000)]


class LimitsSpec(SpecModel):
    """How long the job may take, in seconds; null: without end. What is exceeded ends it, with a sentence."""

    max_runtime: Seconds | None = None
    """Training time of all attempts together. Then the job saves a checkpoint and fails with reason `timeout`."""
    queue_timeout: Seconds | None = None
    """One wait in the queue: from submission, from a resume, or from the end of a lost attempt. Then the job fails with
    reason `timeout`."""
    no_progress: Seconds | None = None
    """Time without any event of a training that has begun, such as when a rank hangs. Then the attempt ends, with the
    stack of every rank in the job's log, and the job goes on from its last checkpoint. Null: the worker's setting."""


EXAMPLE: dict[str, Any] = {
    "model": {"name": "resnet8"},
    "dataset": {"name": "digits"},
    "precision": {"schedule": "cosine", "min_bits": 3, "max_bits": 8, "cycles": 8},
    "training": {"steps": 200, "batch_size": 64},
}
"""A small job that trains anywhere."""


class JobSpec(SpecModel):
    """One training job. The same document works as YAML for `cpt train` and `cpt submit` and as JSON over HTTP."""

    model_config = ConfigDict(title="JobSpec", json_schema_extra={"examples": [EXAMPLE]})

    name: Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]*$")] = "untitled"
    """A label for people; need not be unique."""
    type: Literal["training", "range_test"] = "training"
    """`range_test` takes the spec of a training with precision.schedule `auto` and ends when the precision range test
    is over; its result has the bounds."""
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
    limits: LimitsSpec = LimitsSpec()
    """Deadlines."""

    @property
    def steps(self) -> int:
        """Optimiser steps of the job: `training.steps`, or those of the range test, if it is that alone."""
        if self.type == "range_test" and isinstance(self.precision, AutoPrecision):
            return self.precision.test_steps
        return self.training.steps

    @property
    def samples_per_step(self) -> int:
        """Samples of an optimiser step, over all devices: images, or words of a text, each in its place."""
        return self.training.batch_size * (self.dataset.bptt if isinstance(self.dataset, TextDatasetSpec) else 1)

    @property
    def evaluation_batch_size(self) -> int:
        """`evaluation.batch_size`, or its default for this dataset."""
        default = self.training.batch_size if isinstance(self.dataset, TextDatasetSpec) else 500
        return self.evaluation.batch_size or default

    def _check_length(self) -> None:
        steps, precision = self.training.steps, self.precision
        if self.type == "training":
            precision.check_length(steps)
        elif not isinstance(precision, AutoPrecision):
            raise field_error("/precision/schedule", "must be auto in a job of type range_test, or there is no test")
        elif precision.steps_per_bits > steps:
            raise field_error(
                "/precision/steps_per_bits",
                f"no width can be tried for longer than training.steps ({steps}), to which the learning rate is "
                "scheduled: lower it, or raise training.steps",
            )
        if self.lr_schedule.warmup_steps > steps:
            raise field_error("/lr_schedule/warmup_steps", f"must not be above training.steps ({steps})")
        self._check_averaging()

    def _check_averaging(self) -> None:
        steps, precision, averaging = self.training.steps, self.precision, self.training.averaging
        if averaging is None:
            return
        pointer = "/training/averaging/from_step"
        if averaging.from_step > steps:
            raise field_error(pointer, f"must not be above training.steps ({steps}), or nothing is averaged")
        if isinstance(precision, AutoPrecision) and averaging.from_step < precision.test_steps:
            raise field_error(
                pointer, f"must not be below {precision.test_steps}, where the range test throws its weights away"
            )

    def _check_model_fits_the_data(self) -> None:
        for_text = isinstance(self.model, LanguageModelSpec)
        if isinstance(self.model, ExternalModel) and self.model.source not in IMAGE_SOURCES:
            return  # what it takes only the worker knows
        if for_text != isinstance(self.dataset, TextDatasetSpec):
            takes, use = ("text", "text, ptb or wikitext103") if for_text else ("images", "a dataset of images")
            raise field_error("/dataset/name", f"{self.model.name} takes {takes}: use {use}, or another model")

    @property
    def node_counts(self) -> list[int]:
        """With how many nodes the job may run: from `min_nodes` to `nodes`, where batches can be split evenly."""
        few = self.resources.min_nodes or self.resources.nodes
        return [nodes for nodes in range(few, self.resources.nodes + 1) if self._uneven(nodes) is None]

    def _uneven(self, nodes: int) -> tuple[str, str] | None:
        """What cannot be split evenly over so many nodes: its place in the spec, and a sentence."""
        devices = self.resources.devices * nodes
        over = f"{devices} devices" + (f" ({nodes} nodes)" if self.resources.nodes > 1 else "")
        for where, size in (("training", self.training.batch_size), ("evaluation", self.evaluation_batch_size)):
            if size % devices:
                return f"/{where}/batch_size", f"{size} samples cannot be split evenly over {over}"
        share = self.training.batch_size // devices
        if share % self.training.accumulation:
            parts = f"{self.training.accumulation} parts"
            return "/training/accumulation", f"a device's share of {share} cannot be split evenly into {parts}"
        return None

    def _check_shares(self) -> None:
        resources = self.resources
        if resources.min_nodes is not None and resources.min_nodes > resources.nodes:
            raise field_error("/resources/min_nodes", f"must not be above resources.nodes ({resources.nodes})")
        for nodes in {resources.nodes, resources.min_nodes or resources.nodes}:
            if (uneven := self._uneven(nodes)) is not None:
                raise field_error(*uneven)

    def _check_graphs(self) -> None:
        if not self.resources.cuda_graphs:
            return
        pointer = "/resources/cuda_graphs"
        if self.resources.devices * self.resources.nodes > 1:
            raise field_error(pointer, "DDP's passes cannot be replayed: use one device on one node, or leave it out")
        if self.training.accumulation > 1:
            raise field_error(pointer, "gradients of several parts cannot be summed: set training.accumulation to 1")
        if isinstance(self.model, ExternalModel) and self.model.source != "torchvision":
            raise field_error(
                pointer, f"{self.model.name} may decide step by step what to do, which a graph cannot: leave it out"
            )

    @model_validator(mode="after")
    def _cross_field_rules(self) -> Self:
        self._check_length()
        self._check_model_fits_the_data()
        backend, quantizer = self.precision.backend, self.precision.quantizer
        if backend in ("int8", "fp8") and quantizer != "sbm":
            raise field_error(
                "/precision/backend", f"{backend} needs the quantizer sbm, not {quantizer}: use auto or simulated"
            )
        if self.evaluation.bits not in (None, 32) and self.precision.min_bits == 32:
            raise field_error(
                "/evaluation/bits",
                "training in full precision keeps no ranges to quantise with: set 32, or leave it out",
            )
        self._check_shares()
        self._check_graphs()
        return self
