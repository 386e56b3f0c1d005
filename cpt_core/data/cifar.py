"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009) in torchvision's folder layout, read by torchvision."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal
from urllib.error import URLError

import torch

from cpt_core.data.dataset import DataError, Dataset, Split, below, standardize


def load(name: Literal["cifar10", "cifar100"], data_root: Path, folder: str, *, download: bool) -> Dataset:
    """The dataset in `folder`/cifar-10-batches-py or `folder`/cifar-100-python.

    The files are Python pickles. torchvision compares their digests with those of the published files first, and
    nothing else is unpickled.

    Raises:
        DataError: the files are missing or not the published ones, or cannot be downloaded.
    """
    from torchvision.datasets import CIFAR10, CIFAR100  # takes seconds to import

    kind: Any = CIFAR10 if name == "cifar10" else CIFAR100
    root = below(data_root, folder)
    batches = below(data_root, f"{folder}/{kind.base_folder}")
    if not batches.is_dir() and not download:
        raise DataError(
            f"{folder}/{kind.base_folder} is not in the data root {data_root}: put {name} there, "
            "or allow it to be fetched with dataset.download: true."
        )
    try:
        train, test = (kind(root, train=train, download=download) for train in (True, False))
    except RuntimeError as error:
        raise DataError(f"The files in {batches} are not those of {name} ({error}): get them again.") from error
    except (URLError, OSError) as error:
        raise DataError(f"{name} cannot be fetched to {root} ({error}).") from error
    images, test_images = (torch.from_numpy(part.data).permute(0, 3, 1, 2).contiguous() for part in (train, test))
    labels, test_labels = (torch.tensor(part.targets) for part in (train, test))
    splits = Split(images, labels), Split(test_images, test_labels)
    return Dataset(name, len(train.classes), *splits, standardize(images))
