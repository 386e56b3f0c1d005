"""Reading datasets, and refusing what is no dataset."""

import gzip
import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from cpt_core.data import DataError, load
from cpt_core.data.idx import read
from cpt_core.spec import CifarDataset, DigitsDataset, IdxDataset

from .conftest import write_idx, write_idx_dataset

DIGITS = DigitsDataset(name="digits")
IDX = IdxDataset(name="idx", path="mnist")


@pytest.mark.parametrize("split", ["train", "test"])
def test_digits_are_the_images_split_and_scaling_of_the_reference(tmp_path, split):
    reference = np.load(Path(__file__).parents[1] / "golden" / "trajectory.npz")
    index = reference[f"digits/{split}_index"]
    pixels = reference["digits/images_uint8"][index].astype(np.float64)
    enlarged = np.kron(((pixels / 16) ** 2 - 0.25) / 0.5, np.ones((4, 4)))

    digits = load(DIGITS, tmp_path)
    mine = getattr(digits, split)
    assert np.array_equal(digits.inputs(mine.images).numpy(), np.repeat(enlarged[:, None], 3, axis=1))
    assert np.array_equal(mine.labels.numpy(), reference["digits/labels"][index])
    assert mine.images.dtype == torch.uint8


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx_images_are_padded_to_32x32_and_repeated_to_three_channels(tmp_path, suffix):
    write_idx_dataset(tmp_path / "mnist", images=32, side=28, classes=4, suffix=suffix)
    dataset = load(IDX, tmp_path)
    assert (len(dataset.train), len(dataset.test), dataset.classes) == (32, 16, 4)
    assert dataset.train.images.shape == (32, 1, 32, 32)
    assert int(dataset.train.images[:, :, :2].sum() + dataset.train.images[:, :, -2:].sum()) == 0
    inputs = dataset.inputs(dataset.train.images)
    assert inputs.shape == (32, 3, 32, 32)
    assert torch.equal(inputs[:, 0], inputs[:, 2])
    assert abs(float(inputs.mean())) < 1e-5
    assert abs(float(inputs.var(correction=0)) - 1) < 1e-4


def _damage(path, change):
    path.write_bytes(change(path.read_bytes()))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        pytest.param(lambda p: p.unlink(), "is not in the data root", id="missing"),
        pytest.param(lambda p: p.write_bytes(b""), "begins with nothing", id="empty"),
        pytest.param(lambda p: _damage(p, lambda b: b"\x1f" + b[1:]), "no idx file", id="wrong magic"),
        pytest.param(lambda p: _damage(p, lambda b: b[:2] + b"\x0d" + b[3:]), "no idx file", id="floats"),
        pytest.param(lambda p: _damage(p, lambda b: b[:3] + b"\x01" + b[4:]), "no idx file", id="labels for images"),
        pytest.param(lambda p: _damage(p, lambda b: b[:9]), "ends within its header", id="short header"),
        pytest.param(lambda p: _damage(p, lambda b: b[:-1]), "instead of 50176 values", id="truncated"),
        pytest.param(lambda p: _damage(p, lambda b: b + b"\0"), "more than 50176 values", id="too long"),
        pytest.param(lambda p: _damage(p, lambda b: b[:4] + bytes(12)), "holds 0 values", id="no images"),
        pytest.param(lambda p: _damage(p, lambda b: b[:4] + b"\xff" * 12), "can be read", id="absurd size"),
        pytest.param(lambda p: write_idx(p, np.zeros((64, 33, 20))), "33x20 pixels", id="too large"),
        pytest.param(lambda p: write_idx(p, np.zeros((63, 28, 28))), "64 labels", id="too few images"),
    ],
)
def test_a_damaged_idx_file_is_refused_by_name(tmp_path, damage, words):
    write_idx_dataset(tmp_path / "mnist")
    damage(tmp_path / "mnist" / "train-images-idx3-ubyte")
    with pytest.raises(DataError, match=words) as caught:
        load(IDX, tmp_path)
    assert "train-images-idx3-ubyte" in str(caught.value)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda b: b[: len(b) // 2], id="truncated"),
        pytest.param(lambda b: b[:-8] + bytes(8), id="wrong checksum"),
        pytest.param(lambda b: b[:40] + b"\xff" * 20 + b[60:], id="bad block"),
        pytest.param(gzip.decompress, id="not gzipped"),
    ],
)
def test_a_damaged_gzip_file_is_refused_by_name(tmp_path, damage):
    write_idx_dataset(tmp_path / "mnist", suffix=".gz")
    path = tmp_path / "mnist" / "t10k-images-idx3-ubyte.gz"
    _damage(path, damage)
    with pytest.raises(DataError, match=r"t10k-images-idx3-ubyte\.gz cannot be read"):
        load(IDX, tmp_path)


def test_test_labels_that_training_never_saw_are_refused(tmp_path):
    write_idx_dataset(tmp_path / "mnist", classes=4)
    write_idx(tmp_path / "mnist" / "t10k-labels-idx1-ubyte", np.full(32, 9))
    with pytest.raises(DataError, match="do not belong together"):
        load(IDX, tmp_path)


def test_an_idx_file_is_read_as_it_was_written(tmp_path):
    values = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    write_idx(tmp_path / "x", values)
    assert np.array_equal(read(tmp_path / "x", dimensions=3).numpy(), values)


@pytest.mark.parametrize("link", ["mnist", "mnist/train-images-idx3-ubyte"])
def test_a_link_out_of_the_data_root_is_refused(tmp_path, link):
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    write_idx_dataset(outside)
    if "/" in link:
        write_idx_dataset(root / "mnist")
        (root / link).unlink()
        (root / link).symlink_to(outside / "train-images-idx3-ubyte")
    else:
        (root / link).symlink_to(outside)
    with pytest.raises(DataError, match="outside the data root"):
        load(IDX, root)


def test_a_missing_data_root_is_named(tmp_path):
    with pytest.raises(DataError, match="nowhere does not exist"):
        load(IDX, tmp_path / "nowhere")


CIFAR = CifarDataset(name="cifar10", path="cifar")


@pytest.fixture
def cifar_files(tmp_path, monkeypatch):
    """Files like those of CIFAR-10, with 2 images each, and torchvision told to expect them."""
    from torchvision.datasets import CIFAR10

    folder = tmp_path / "cifar" / "cifar-10-batches-py"
    folder.mkdir(parents=True)

    def write(name, content):
        (folder / name).write_bytes(pickle.dumps(content))
        return hashlib.md5((folder / name).read_bytes()).hexdigest()

    random = np.random.RandomState(0)
    batch = {"data": random.randint(0, 256, (2, 3072)).astype(np.uint8), "labels": [3, 7]}
    names = [f"data_batch_{number}" for number in range(1, 6)]
    monkeypatch.setattr(CIFAR10, "train_list", [[name, write(name, batch)] for name in names])
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", write("test_batch", batch)]])
    labels = write("batches.meta", {"label_names": [str(number) for number in range(10)]})
    meta = {"filename": "batches.meta", "key": "label_names", "md5": labels}
    monkeypatch.setattr(CIFAR10, "meta", meta)
    return folder, batch


def test_cifar_images_come_channels_first_with_their_labels(tmp_path, cifar_files):
    _folder, batch = cifar_files
    dataset = load(CIFAR, tmp_path)
    assert (len(dataset.train), len(dataset.test), dataset.classes) == (10, 2, 10)
    assert np.array_equal(dataset.test.images.numpy().reshape(2, 3072), batch["data"])
    assert dataset.test.labels.tolist() == [3, 7]
    assert dataset.inputs(dataset.train.images).mean((0, 2, 3)).abs().max() < 1e-5


def test_a_cifar_file_that_is_not_the_published_one_is_refused_unread(tmp_path, cifar_files):
    folder, _batch = cifar_files
    _damage(folder / "data_batch_3", lambda b: b[:-1] + b"!")
    with pytest.raises(DataError, match="not those of cifar10"):
        load(CIFAR, tmp_path)


def test_cifar_is_not_fetched_unless_the_spec_allows_it(tmp_path):
    with pytest.raises(DataError, match=r"dataset\.download: true"):
        load(CIFAR, tmp_path)
