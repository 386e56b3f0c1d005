"""The job spec: one strict, versionless pydantic model for YAML files, HTTP bodies and the trainer.

Unknown fields are errors, every number has bounds, and every error names its field by JSON pointer
(RFC 6901), see `problems`. This package must not import torch: the API validates with it.
"""

from cpt_core.spec.base import Labels, Name
from cpt_core.spec.dataset import (
    CifarDataset,
    DatasetSpec,
    DigitsDataset,
    FileDataset,
    FolderDataset,
    IdxDataset,
    ImageDatasetSpec,
    PlainText,
    PreparedText,
    TextDatasetSpec,
)
from cpt_core.spec.job import JobSpec
from cpt_core.spec.model import (
    CifarResNet,
    ExternalModel,
    ImageNetResNet,
    LanguageModelSpec,
    LstmLM,
    MobileNetV2,
    TransformerLM,
)
from cpt_core.spec.optimization import (
    AdamW,
    ConstantLr,
    LrScheduleSpec,
    MultiStepLr,
    OptimizerSpec,
    Sgd,
    WeightAveraging,
)
from cpt_core.spec.precision import AutoPrecision
from cpt_core.spec.reading import load, problem, problems

__all__ = [
    "AdamW",
    "AutoPrecision",
    "CifarDataset",
    "CifarResNet",
    "ConstantLr",
    "DatasetSpec",
    "DigitsDataset",
    "ExternalModel",
    "FileDataset",
    "FolderDataset",
    "IdxDataset",
    "ImageDatasetSpec",
    "ImageNetResNet",
    "JobSpec",
    "Labels",
    "LanguageModelSpec",
    "LrScheduleSpec",
    "LstmLM",
    "MobileNetV2",
    "MultiStepLr",
    "Name",
    "OptimizerSpec",
    "PlainText",
    "PreparedText",
    "Sgd",
    "TextDatasetSpec",
    "TransformerLM",
    "WeightAveraging",
    "load",
    "problem",
    "problems",
]
