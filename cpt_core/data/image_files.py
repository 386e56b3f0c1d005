"""Images in files, a folder for each class below `train/` and `val/`: torchvision's layout, and ImageNet's.

They are decoded when they are needed. Training takes random parts (Szegedy et al. 2015, as torchvision's
RandomResizedCrop: 8 to 100 % of the area, sides 3:4 to 4:3) and mirrors half of them; evaluation the middle, of an
image whose shorter side was made 8/7 of what the model takes (256 for 224).
"""

from __future__ import annotations

import math
import os
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from cpt_core.data.dataset import DataError, Dataset, Split, below
from cpt_core.seeding import derive

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".tif", ".tiff"}
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of the channels of ImageNet, which torchvision normalises all photographs with."""

Box = tuple[float, float, float, float]
"""Left, top, right, bottom, in pixels."""


class ImageFiles:
    """Images in files, indexed like a tensor of shape (N, 3, size, size)."""

    def __init__(self, paths: list[Path], size: int, device: torch.device | None = None) -> None:
        """The images in `paths`, `size` pixels high and wide, to be had on `device`."""
        self._paths, self._size, self._device = paths, size, device
        self._threads = ThreadPoolExecutor(max_workers=len(os.sched_getaffinity(0)), thread_name_prefix="decode")

    def to(self, device: torch.device) -> ImageFiles:
        """The same images, on `device`."""
        return ImageFiles(self._paths, self._size, device)

    def __getitem__(self, part: slice | Tensor) -> Tensor:
        """The middles of some images, uint8, shape (B, 3, size, size).

        Raises:
            DataError: a file is no image, or damaged.
        """
        indices = range(*part.indices(len(self._paths))) if isinstance(part, slice) else part.tolist()
        return self._decoded(indices, lambda _index, width, height: (_middle(width, height), False))

    def augmented(self, indices: Tensor, *, seed: int, epoch: int) -> Tensor:
        """Random parts of some images, half of them mirrored: functions of (seed, epoch, index) and of nothing else.

        Raises:
            DataError: a file is no image, or damaged.
        """

        def draw(index: int, width: int, height: int) -> tuple[Box, bool]:
            generator = random.Random(derive(seed, "augmentation", epoch, index))  # noqa: S311  # no secrets
            return _random_part(width, height, generator), generator.random() < 0.5

        return self._decoded(indices.tolist(), draw)

    def _decoded(self, indices: range | list[int], choose: Callable[[int, int, int], tuple[Box, bool]]) -> Tensor:
        batch = np.empty((len(indices), 3, self._size, self._size), dtype=np.uint8)
        for place, image in enumerate(self._threads.map(lambda index: self._decode(index, choose), indices)):
            batch[place] = image
        return _placed(torch.from_numpy(batch), self._device)

    def _decode(self, index: int, choose: Callable[[int, int, int], tuple[Box, bool]]) -> npt.NDArray[np.uint8]:
        path = self._paths[index]
        try:
            with Image.open(path) as file:
                image = file.convert("RGB")
        except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
            raise DataError(f"{path} cannot be read as an image ({error}): get the file again.") from error
        box, mirrored = choose(index, *image.size)
        pixels = np.asarray(image.resize((self._size, self._size), Image.Resampling.BILINEAR, box=box))
        return (pixels[:, ::-1] if mirrored else pixels).transpose(2, 0, 1)


def _placed(batch: Tensor, device: torch.device | None) -> Tensor:
    """The batch on the device; a GPU gets it from pinned memory, while the CPU goes on."""
    if device is None or device.type != "cuda":
        return batch.to(device or "cpu")
    return batch.pin_memory().to(device, non_blocking=True)


def load(data_root: Path, folder: str, size: int) -> Dataset:
    """The dataset in `folder`/train/CLASS/… and `folder`/val/CLASS/…, classes in the order of their names.

    Raises:
        DataError: a folder is missing or empty, or there are classes that are not to be trained.
    """
    root = below(data_root, folder)
    classes = sorted(path.name for path in _folders(root / "train"))
    strange = {path.name for path in _folders(root / "val")} - set(classes)
    if strange:
        raise DataError(f"{root / 'val'} has the class {min(strange)}, which {root / 'train'} has not.")
    splits = [_split(below(data_root, f"{folder}/{name}"), classes, size) for name in ("train", "val")]
    return Dataset(folder, len(classes), splits[0], splits[1], _normalize)


def _folders(path: Path) -> list[Path]:
    found = [child for child in path.iterdir() if child.is_dir()] if path.is_dir() else []
    if not found:
        raise DataError(f"There is no folder with images of a class in {path}: put one there for each class.")
    return found


def _split(folder: Path, classes: list[str], size: int) -> Split:
    paths, labels = list[Path](), list[int]()
    for label, name in enumerate(classes):
        found = sorted(path for path in folder.glob(f"{name}/*") if path.suffix.lower() in SUFFIXES)
        if not found and folder.name == "train":
            raise DataError(f"There is no image in {folder / name}: put some there, or remove the folder.")
        paths += found
        labels += [label] * len(found)
    if not paths:
        raise DataError(f"There is no image in the folders in {folder}: put some there.")
    return Split(ImageFiles(paths, size), torch.tensor(labels))


def _middle(width: int, height: int) -> Box:
    side = min(width, height) * 7 / 8
    left, top = (width - side) / 2, (height - side) / 2
    return left, top, left + side, top + side


def _random_part(width: int, height: int, generator: random.Random) -> Box:
    for _ in range(10):
        area = width * height * generator.uniform(0.08, 1.0)
        ratio = math.exp(generator.uniform(math.log(3 / 4), math.log(4 / 3)))
        w, h = math.sqrt(area * ratio), math.sqrt(area / ratio)
        if w <= width and h <= height:
            left, top = generator.uniform(0, width - w), generator.uniform(0, height - h)
            return left, top, left + w, top + h
    return _middle(width, height)


def _normalize(images: Tensor) -> Tensor:
    mean, deviation = (torch.tensor(values, device=images.device).view(-1, 1, 1) for values in (MEAN, DEVIATION))
    return (images.float() / 255 - mean) / deviation
