"""The data."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, field_validator
from pydantic_core import PydanticCustomError

from cpt_core.spec.base import SpecModel


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
