"""Which samples a step sees."""

from itertools import chain

import pytest
import torch

from cpt_core.data import DataError, Dataset, Split, TrainingBatches, evaluation_batches
from cpt_core.data.ahead import Ahead
from cpt_core.data.augment import crop_flip
from cpt_core.seeding import derive


def dataset(train=37, test=23):
    """Images whose every pixel is the image's number, which is its label too."""

    def split(count):
        numbers = torch.arange(count)
        images = numbers.to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 32, 32).contiguous()
        return Split(images, numbers)

    return Dataset("numbers", 64, split(train), split(test), lambda images: images.float())


def labels_of(batches, steps):
    return [batches(step)[1].tolist() for step in steps]


def test_an_epoch_visits_no_sample_twice_and_the_next_has_another_order():
    batches = TrainingBatches(dataset(), batch_size=9, seed=1)
    first, second = ([*chain(*labels_of(batches, range(begin, begin + 4)))] for begin in (0, 4))
    assert len(set(first)) == len(set(second)) == 36
    assert first != second
    assert batches.position(3) == (0, 3)
    assert batches.position(4) == (1, 0)


def test_a_batch_depends_on_seed_and_step_alone_not_on_what_was_asked_before():
    straight = TrainingBatches(dataset(), batch_size=9, seed=1)
    before = labels_of(straight, range(12))
    assert labels_of(TrainingBatches(dataset(), batch_size=9, seed=1), [10]) == before[10:11]
    assert labels_of(TrainingBatches(dataset(), batch_size=9, seed=2), range(12)) != before


@pytest.mark.parametrize("augment", ["none", "crop_flip"])
def test_the_ranks_share_the_batch_that_one_rank_alone_would_have(augment):
    def batches(rank, world_size):
        options = {"batch_size": 12, "seed": 3, "augment": augment}
        return TrainingBatches(dataset(), rank=rank, world_size=world_size, **options)

    alone_inputs, alone_labels = batches(0, 1)(5)
    shares = [batches(rank, 3)(5) for rank in range(3)]
    assert torch.equal(torch.cat([inputs for inputs, _ in shares]), alone_inputs)
    assert torch.equal(torch.cat([labels for _, labels in shares]), alone_labels)


def test_inputs_belong_to_their_labels():
    inputs, labels = TrainingBatches(dataset(), batch_size=9, seed=1)(2)
    assert inputs.shape == (9, 3, 32, 32)
    assert torch.equal(inputs[:, 1, 7, 7].long(), labels)


def test_a_batch_larger_than_the_dataset_is_refused():
    with pytest.raises(DataError, match="38 samples is larger than the training split of numbers, which has 37"):
        TrainingBatches(dataset(), batch_size=38, seed=0)


@pytest.mark.parametrize("world_size", [1, 2, 4])
@pytest.mark.parametrize("batch_size", [4, 8, 64])
def test_evaluation_visits_every_test_sample_exactly_once(world_size, batch_size):
    seen = [
        label
        for rank in range(world_size)
        for _, labels in evaluation_batches(dataset(), batch_size=batch_size, rank=rank, world_size=world_size)
        for label in labels.tolist()
    ]
    assert sorted(seen) == list(range(23))


IMAGES = torch.randint(0, 256, (40, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_crop_flip_gives_a_window_of_the_padded_image_or_of_its_mirror_image():
    result = crop_flip(IMAGES, torch.arange(40), seed=0, epoch=0)
    padded = torch.nn.functional.pad(IMAGES, (4, 4, 4, 4))
    found = set()
    for image, large in zip(result, padded, strict=True):
        windows = {
            (top, left, mirrored): window.flip(-1) if mirrored else window
            for top in range(9)
            for left in range(9)
            for window in [large[:, top : top + 32, left : left + 32]]
            for mirrored in (False, True)
        }
        found |= {place for place, window in windows.items() if torch.equal(image, window)}
    assert len(found) > 30  # of 40 images, few at the same place
    assert {mirrored for _, _, mirrored in found} == {False, True}
    assert {top for top, _, _ in found} == {left for _, left, _ in found} == set(range(9))


def test_augmentation_is_a_function_of_seed_epoch_and_index():
    def augmented(order, **changes):
        return crop_flip(IMAGES[order], order, **({"seed": 0, "epoch": 0} | changes))

    order = torch.arange(40)
    everything = augmented(order)
    assert torch.equal(augmented(order.flip(0)[:7]), everything.flip(0)[:7])
    assert not torch.equal(augmented(order, epoch=1), everything)
    assert not torch.equal(augmented(order, seed=1), everything)


def test_derived_seeds_stay_what_they_were_so_that_old_checkpoints_resume():
    assert derive(0, "permutation", 0) == 861_230_331_840_472_536
    assert derive(7, "noise", 123, 1) == 8_429_353_628_682_118_784


def test_batches_made_ahead_are_those_of_their_steps_and_errors_come_at_their_own():
    def batch(step):
        if step == 3:
            raise DataError("step 3")
        return 10 * step

    ahead = Ahead(batch)
    assert [ahead(step) for step in (0, 1, 2, 0, 5)] == [0, 10, 20, 0, 50]
    assert ahead(2) == 20
    with pytest.raises(DataError, match="step 3"):
        ahead(3)
