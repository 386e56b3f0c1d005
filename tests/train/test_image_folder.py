"""Photographs in folders: decoding, augmentation, training on them, and what is no image folder."""

import numpy as np
import pytest
import torch
from PIL import Image

from cpt_core.data import DataError, TrainingBatches, load
from cpt_core.spec import FolderDataset

from .conftest import make_spec, only_end
from .test_training import failure

COLOURS = {"blue": (0, 0, 255), "green": (0, 255, 0), "red": (255, 0, 0)}
SPEC = FolderDataset(name="image_folder", path="photos", size=16)


@pytest.fixture
def photos(tmp_path):
    return write_photos(tmp_path / "photos")


def write_photos(folder):
    """Pictures of one colour, left half dark, of several sizes: 8 of each colour to train and 2 to test."""
    for split, count in (("train", 8), ("val", 2)):
        for name, colour in COLOURS.items():
            (folder / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = np.broadcast_to(np.array(colour, dtype=np.uint8), (40, 30 + 5 * number, 3)).copy()
                pixels[:, : pixels.shape[1] // 2] //= 4
                Image.fromarray(pixels).save(folder / split / name / f"{number}.png")
    return folder


def test_images_are_decoded_to_one_size_with_classes_in_the_order_of_their_names(tmp_path, photos):
    dataset = load(SPEC, tmp_path)
    assert (dataset.classes, len(dataset.train), len(dataset.test)) == (3, 24, 6)
    assert dataset.test.labels.tolist() == [0, 0, 1, 1, 2, 2]
    images = dataset.test.images[torch.tensor([0, 2, 4])]
    assert (images.shape, images.dtype) == ((3, 3, 16, 16), torch.uint8)
    right = images[:, :, 8, 15]
    assert right.tolist() == [list(colour) for colour in COLOURS.values()]
    assert torch.equal(dataset.test.images[2:4], dataset.test.images[torch.tensor([2, 3])])
    assert dataset.inputs(images).shape == (3, 3, 16, 16)


def test_augmentation_is_a_function_of_seed_epoch_and_index_and_mirrors_half(tmp_path, photos):
    images = load(SPEC, tmp_path).train.images
    order = torch.arange(24)
    everything = images.augmented(order, seed=0, epoch=0)
    assert torch.equal(images.augmented(order.flip(0)[:5], seed=0, epoch=0), everything.flip(0)[:5])
    assert not torch.equal(images.augmented(order, seed=0, epoch=1), everything)
    assert not torch.equal(images.augmented(order, seed=1, epoch=0), everything)
    brightness = everything.float().sum((1, 2))
    mirrored = brightness[:, 0] > brightness[:, -1]
    assert 3 < int(mirrored.sum()) < 21


def test_the_ranks_share_the_batch_that_one_rank_alone_would_have(tmp_path, photos):
    dataset = load(SPEC, tmp_path)

    def inputs(rank, world_size):
        options = {"batch_size": 6, "seed": 0, "augment": "crop_flip"}
        return TrainingBatches(dataset, rank=rank, world_size=world_size, **options)(2)[0]

    assert torch.equal(torch.cat([inputs(0, 2), inputs(1, 2)]), inputs(0, 1))


def folder_spec(**parts):
    return make_spec(dataset={"name": "image_folder", "path": "photos", "size": 16}, **parts)


def test_a_model_trains_on_an_image_folder_and_resumes_bit_for_bit(here):
    write_photos(here.data_root / "photos")
    _code, unbroken = here.train(folder_spec(), name="unbroken")
    at_step_3 = next(event for event in unbroken if event.type == "checkpoint")
    _code, resumed = here.train(folder_spec(), name="resumed", resume=at_step_3)
    losses = [[e.loss for e in events if e.type == "step" and e.step >= 3] for events in (unbroken, resumed)]
    assert losses[0] == losses[1]
    assert only_end(resumed).result.loss == only_end(unbroken).result.loss
    assert unbroken[0].macs == (12_501_632 - 64 * 10) // 4 + 64 * 3  # a quarter of the pixels, 3 classes for 10


def test_a_damaged_image_is_a_data_error_naming_the_file(here):
    folder = write_photos(here.data_root / "photos")
    for path in folder.glob("train/*/*.png"):
        path.write_bytes(path.read_bytes()[:60])
    reason, message = failure(here, folder_spec())
    assert reason == "data_error"
    assert ".png cannot be read as an image" in message


@pytest.mark.parametrize(
    ("break_it", "complaint"),
    [
        (lambda folder: (folder / "val").rename(folder / "validation"), "no folder with images of a class in .*val"),
        (lambda folder: (folder / "train" / "red").rename(folder / "rest"), "has the class red, which .*train has not"),
        (lambda folder: (folder / "train" / "void").mkdir(), "no image in .*void"),
    ],
    ids=["no val", "an untrained class", "an empty class"],
)
def test_what_is_no_image_folder_is_refused(tmp_path, photos, break_it, complaint):
    break_it(photos)
    with pytest.raises(DataError, match=complaint):
        load(SPEC, tmp_path)
