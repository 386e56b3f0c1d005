"""Images in idx files, the format of MNIST (Y. LeCun) and Fashion-MNIST, gzipped or not.

Two zero bytes, a type code (8 = unsigned byte), the number of dimensions, each dimension as a big-endian 32-bit
integer, then the values.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cpt_core.data.dataset import SIDE, DataError, Dataset, Split, below, standardize

UNSIGNED_BYTE = 8
MAX_BYTES = 2**32


def load(data_root: Path, folder: str) -> Dataset:
    """The dataset in the four files `train-images-idx3-ubyte[.gz]`, `train-labels-idx1-ubyte[.gz]` and `t10k-…`.

    Images of up to 32x32 are padded to 32x32 with 0; labels are 0 to classes - 1.

    Raises:
        DataError: a file is missing, damaged, or not what its name says.
    """
    images, labels = _split(data_root, folder, "train")
    test_images, test_labels = _split(data_root, folder, "t10k")
    classes = int(labels.max()) + 1
    if int(test_labels.max()) >= classes:
        raise DataError(
            f"The test labels in {folder} go up to {int(test_labels.max())}, "
            f"the training labels only to {classes - 1}: the files do not belong together."
        )
    splits = Split(images, labels), Split(test_images, test_labels)
    return Dataset(folder, classes, *splits, standardize(images))


def _split(data_root: Path, folder: str, prefix: str) -> tuple[Tensor, Tensor]:
    images_path = _find(data_root, folder, f"{prefix}-images-idx3-ubyte")
    labels_path = _find(data_root, folder, f"{prefix}-labels-idx1-ubyte")
    images, labels = read(images_path, dimensions=3), read(labels_path, dimensions=1)
    if len(images) != len(labels):
        raise DataError(f"{images_path} has {len(images)} images, but {labels_path} has {len(labels)} labels.")
    height, width = images.shape[1:]
    if height > SIDE or width > SIDE:
        raise DataError(f"{images_path} has images of {height}x{width} pixels; at most {SIDE}x{SIDE} can be used.")
    top, left = (SIDE - height) // 2, (SIDE - width) // 2
    padded = F.pad(images, (left, SIDE - width - left, top, SIDE - height - top))
    return padded.unsqueeze(1), labels.long()


def _find(data_root: Path, folder: str, name: str) -> Path:
    for suffix in ("", ".gz"):
        path = below(data_root, f"{folder}/{name}{suffix}")
        if path.is_file():
            return path
    raise DataError(f"{folder}/{name} (or {name}.gz) is not in the data root {data_root}: put the idx files there.")


def read(path: Path, *, dimensions: int) -> Tensor:
    """The uint8 tensor in an idx file.

    Raises:
        DataError: it is damaged, of another type or number of dimensions, or empty.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            header = file.read(4)
            if header != bytes((0, 0, UNSIGNED_BYTE, dimensions)):
                raise DataError(
                    f"{path} is no idx file of unsigned bytes in {dimensions} dimension(s): "
                    f"it begins with {header.hex() or 'nothing'}."
                )
            sizes = file.read(4 * dimensions)
            if len(sizes) < 4 * dimensions:
                raise DataError(f"{path} ends within its header: get the file again.")
            shape = struct.unpack(f">{dimensions}I", sizes)
            expected = math.prod(shape)
            if not 0 < expected <= MAX_BYTES:
                raise DataError(f"{path} says that it holds {expected} values; 1 to {MAX_BYTES} can be read.")
            values = file.read(expected)
            surplus = file.read(1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read ({error}): get the file again.") from error
    if len(values) < expected or surplus:
        raise DataError(
            f"{path} holds {'more than' if surplus else str(len(values)) + ' instead of'} {expected} values: "
            "get the file again."
        )
    return torch.from_numpy(np.frombuffer(values, dtype=np.uint8).copy()).view(shape)
