"""Pictures of the most exposed forget samples, as an audit keeps them."""

from __future__ import annotations

import numpy as np
import torch

from natmu.audits.exposed_images import exposed_images
from natmu.data import ImageData
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


def test_large_images_are_shrunk_in_proportion(tmp_path):
    images, found = kept(tmp_path, (3, 192, 384), count=3)
    assert found["images"].shape == (2, 48, 96, 3)
    means = images[1].reshape(3, 48, 4, 96, 4).mean((2, 4)).transpose(1, 2, 0)
    assert np.abs(found["images"][0] - means).max() <= 1
