"""Pictures of the most exposed forget samples, as an audit keeps them."""

from __future__ import annotations

import numpy as np
import torch

from natmu.audits.exposed_images import exposed_images
from natmu.data import ImageData
from natmu.data.thumbnails import thumbnails
from natmu.records.samples import Exposed, Sample


def kept(folder, shape, count=30):
    images = torch.randint(0, 256, (count, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    data = ImageData(images, torch.arange(count) % 2, ("cat", "dog <b>"))
    samples = [sample(index, index % 2) for index in reversed(range(count - 1))]
    exposed = exposed_images([*samples, sample(count - 1, 1, "retain")], data)
    exposed.write(folder / "exposed.npz")
    return images.numpy(), vars(Exposed.read(folder / "exposed.npz"))


def sample(index, label, part="forget"):
    return Sample(index=index, part=part, label=label, loss=0.0, margin=0.0, rank=1)


def test_the_most_exposed_forget_samples_are_kept_as_they_are(tmp_path):
    images, found = kept(tmp_path, (3, 5, 7))
    assert found["samples"].dtype == np.int64
    assert found["samples"].tolist() == list(range(28, 4, -1))
    assert np.array_equal(found["images"], images[28:4:-1].transpose(0, 2, 3, 1))
    assert found["names"][:2].tolist() == ["cat", "dog <b>"]


def test_grey_images_have_no_channels_and_few_samples_are_all_kept(tmp_path):
    images, found = kept(tmp_path, (1, 8, 8), count=4)
    assert np.array_equal(found["images"], images[2::-1, 0])


def test_floats_of_any_range_and_any_number_of_channels_are_shown_from_black_to_white():
    """The lowest value of each channel is black, the highest white; what lies between is in proportion."""
    levels = torch.randint(0, 256, (6, 5, 4, 4), generator=torch.Generator().manual_seed(0))
    levels[0, :, 0, 0], levels[5, :, 0, 0] = 0, 255
    scale = torch.tensor([0.001, 3.0, 1000.0, 1.0, 2.0]).view(5, 1, 1)
    for channels, shown in ((5, [0, 1, 2]), (2, [0])):
        images = levels.float()[:, :channels] * scale[:channels] - 7
        data = ImageData(images, torch.zeros(6, dtype=torch.int64), ("a",))
        found = thumbnails(data, np.arange(6)).reshape(6, 4, 4, len(shown))
        assert found.dtype == np.uint8
        difference = found.astype(int) - levels[:, shown].permute(0, 2, 3, 1).numpy()
        assert np.abs(difference).max() <= 1  # 0.001 is no number of float32


def test_large_images_are_shrunk_in_proportion(tmp_path):
    images, found = kept(tmp_path, (3, 192, 384), count=3)
    assert found["images"].shape == (2, 48, 96, 3)
    means = images[1].reshape(3, 48, 4, 96, 4).mean((2, 4)).transpose(1, 2, 0)
    assert np.abs(found["images"][0] - means).max() <= 1
