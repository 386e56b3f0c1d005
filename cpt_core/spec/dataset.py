"""The data."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, field_validator, model_validator
from pydantic_core import PydanticCustomError

from cpt_core.spec.base import Name, SpecModel, field_error


class ImageDataset(SpecModel):
    """What every image dataset has in common."""

    augment: Literal["none", "crop_flip"] = "none"
    """`crop_flip`: random crop with padding 4 and horizontal flip, a function of (seed, epoch, index)."""


class DigitsDataset(ImageDataset):
    """scikit-learn's bundled digits, enlarged to 3x32x32: 1,437 training and 360 test images. Needs no files."""

    name: Literal["digits"]


class FileDataset(SpecModel):
    """What datasets in files have in common."""

    upload: Name | None = None
    """Name of an uploaded dataset (`POST /v1/datasets`, `cpt datasets upload`). `cpt train` and others that work
    without a server take the folder of that name in the data root."""
    path: Annotated[str, StringConstraints(min_length=1, max_length=500)] = "."
    """Folder or file of the data, relative to the server's (or `--data-root`'s) data root, where it must be given; or
    in the uploaded dataset, by default all of it."""

    @field_validator("path")
    @classmethod
    def _inside_the_data_root(cls, value: str) -> str:
        path = PurePosixPath(value)
        if path.is_absolute() or ".." in path.parts or "\\" in value or "\x00" in value:
            raise PydanticCustomError(
                "path_outside_root", "must be a path below the data root: relative, without '..' or backslashes"
            )
        return value

    @model_validator(mode="after")
    def _somewhere(self) -> Self:
        if self.upload is None and "path" not in self.model_fields_set:
            raise field_error("/dataset/path", "say where the data lie below the data root, or name an `upload`")
        return self

    @property
    def location(self) -> str:
        """The data's place below the data root; an uploaded dataset has the folder of its name there."""
        return self.path if self.upload is None else f"{self.upload}/{self.path}"


class IdxDataset(FileDataset, ImageDataset):
    """Images in idx files (MNIST, Fashion-MNIST; gzipped or not), padded to 32x32 and repeated to 3 channels."""

    name: Literal["idx"]


class CifarDataset(FileDataset, ImageDataset):
    """CIFAR-10 or CIFAR-100 in torchvision's folder layout."""

    name: Literal["cifar10", "cifar100"]
    augment: Literal["none", "crop_flip"] = "crop_flip"
    """`crop_flip`: random crop with padding 4 and horizontal flip, a function of (seed, epoch, index)."""
    download: bool = False
    """Fetch the archive when it is not there. Off by default: a job does not reach out unless it says so."""


class FolderDataset(FileDataset):
    """Photographs in a folder for each class below `train/` and `val/`; `imagenet` is such a folder."""

    name: Literal["image_folder", "imagenet"]
    size: Annotated[int, Field(ge=8, le=1024)] = 224
    """Pixels of height and width that the model takes. 32 suits the models of CIFAR form."""
    augment: Literal["none", "crop_flip"] = "crop_flip"
    """`crop_flip`: a random part, 8 to 100 % of the image, and horizontal flip, a function of (seed, epoch, index)."""


class TextBase(FileDataset):
    """What every text has in common. A sample is one word in its place, training.batch_size the parallel streams."""

    bptt: Annotated[int, Field(ge=1, le=4096)] = 35
    """Words of a stretch: gradients reach as far back, an LSTM's state is carried on from stretch to stretch."""


class PlainText(TextBase):
    """A text file in UTF-8, or the `.txt` files of a folder. The last 5 % are the test split, 5 % before it unused."""

    name: Literal["text"]
    max_vocabulary: Annotated[int, Field(ge=2, le=1_000_000)] | None = 10_000
    """Words to tell apart, the most frequent ones; null: all of the training split."""


class PreparedText(TextBase):
    """Penn Treebank (`ptb.train.txt`, …) or WikiText-103 (`wiki.train.tokens`, …), a file for each split."""

    name: Literal["ptb", "wikitext103"]
    max_vocabulary: Annotated[int, Field(ge=2, le=1_000_000)] | None = None
    """Words to tell apart, the most frequent ones; null: all of the training split."""


ImageDatasetSpec = DigitsDataset | IdxDataset | CifarDataset | FolderDataset
TextDatasetSpec = PlainText | PreparedText

DatasetSpec = Annotated[ImageDatasetSpec | TextDatasetSpec, Field(discriminator="name")]
