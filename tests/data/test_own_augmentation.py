"""The user's own augmentation of batches: where it acts, what it draws, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from natmu.data import ImageData
from natmu.data.batches import Batches, joined, plain, render
from natmu.errors import SettingError

CPU = torch.device("cpu")
IMAGES = np.random.default_rng(0).integers(0, 256, (20, 2, 4, 4), dtype=np.uint8)


def data(mapped_in=None):
    images = torch.from_numpy(IMAGES)
    if mapped_in is not None:
        np.save(mapped_in / "images.npy", IMAGES)
        images = np.load(mapped_in / "images.npy", mmap_mode="r")
    return ImageData(images, torch.arange(20) % 2, ("a", "b"))


def shaded(images):
    """Darker by a factor of each image's own."""
    return images * torch.rand(len(images), 1, 1, 1, device=images.device)


def batches(source, function=shaded, seed=3, pairs=True):
    first = joined(
        plain(torch.arange(8), source.labels[:8], augment=True),
        plain(torch.arange(8, 14), source.labels[8:14], augment=False),
    )
    paired = plain(torch.arange(14, 20), source.labels[14:], augment=True) if pairs else None
    return Batches(source, first, batch_size=5, seed=seed, device=CPU, paired=paired, augmentation=function)


@pytest.mark.parametrize("mapped", [False, True])
def test_augmented_rows_alone_are_changed_each_by_its_own_draw(tmp_path, mapped):
    source = data(tmp_path if mapped else None)
    state = torch.get_rng_state()
    factors = []
    for batch in batches(source).epoch(0):
        for part, images in ((batch, batch.images), (batch.paired, batch.paired.images)):
            still = torch.from_numpy(IMAGES[part.positions.numpy()]).float() / 255
            for position, image, before in zip(part.positions.tolist(), images, still, strict=True):
                factor = float(image.sum() / before.sum())
                torch.testing.assert_close(image, before * factor)
                if 8 <= position < 14:
                    assert torch.equal(image, before)
                else:
                    factors.append(round(factor, 6))
        assert batch.images.is_contiguous(memory_format=torch.channels_last)
    assert len(set(factors)) == len(factors)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_same_seed_and_epoch_give_the_same_images_whatever_came_before(tmp_path):
    def images(made, epoch):
        return torch.cat([batch.images for batch in made.epoch(epoch)])

    late, again = batches(data()), batches(data(tmp_path))
    first = images(again, 0)
    torch.rand(3)
    assert torch.equal(images(late, 1), images(again, 1))
    assert torch.equal(images(late, 0), first)
    assert not torch.equal(images(batches(data(), seed=4), 0).sum(), first.sum())


def _global(images):
    return images * np.random.default_rng().random()


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (
            lambda images: images[:, :, 1:],
            r"returned torch.float32 of shape \(5, 2, 3, 4\) for float32 images \(5, 2, 4",
        ),
        (lambda images: images.numpy(), "returned ndarray"),
        (lambda images: images.long(), "returned torch.int64"),
        (lambda images: images / 0, "NaN or infinite"),
        (lambda images: images @ torch.ones(3), r"<lambda> failed on a batch of shape \(5, 2, 4, 4\) \(RuntimeError"),
        (_global, "_global gives other images for the same seed of PyTorch"),
    ],
)
def test_what_is_no_augmentation_is_refused_before_any_step(function, reason):
    with pytest.raises(SettingError, match=f"^augment: .*{reason}"):
        batches(data(), function)


@pytest.mark.parametrize(
    ("later", "reason"), [(slice(1), "returned torch.float32 of shape"), (None, "failed on a later")]
)
def test_one_that_goes_wrong_later_is_one_sentence(later, reason):
    """A batch may be smaller than the first, or hold what the function did not expect."""
    calls = []

    def function(images):
        calls.append(len(images))
        if len(calls) <= 3:
            return images
        if later is None:
            raise ValueError("no face found")
        return images[:, later]

    with pytest.raises(SettingError, match=reason):
        list(batches(data(), function, pairs=False).epoch(0))


def test_a_function_that_changes_its_batch_in_place_changes_no_image_of_the_data():
    source = data()
    made = batches(source, lambda images: images.mul_(0), pairs=False)
    assert {float(batch.images[batch.positions < 8].sum()) for batch in made.epoch(0)} == {0.0}
    assert np.array_equal(source.images.numpy(), IMAGES)
    samples = plain(torch.arange(20), source.labels, augment=False)
    assert torch.equal(render(source, samples, torch.arange(20)), torch.from_numpy(IMAGES).float() / 255)
