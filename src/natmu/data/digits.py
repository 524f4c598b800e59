"""Scikit-learn's handwritten digits: real images that need no download."""

from __future__ import annotations

import numpy as np

from natmu.data.images import ImageData
from natmu.data.pixels import image_data, plain_names
from natmu.data.sampling import fixed_part


def load_digits() -> tuple[ImageData, ImageData]:
    """The digits, uint8 ``(N, 1, 8, 8)``, as a training set of 1,438 and a test set of 359.

    Values 0 … 16 are scaled to 0 … 255 and rounded; the split is class-balanced and always the same.
    """
    from sklearn import datasets  # slow to import, and only the digits need it

    bunch = datasets.load_digits()
    images = np.rint(bunch.images * (255 / 16)).astype(np.uint8)[:, None]
    labels = bunch.target.astype(np.int64)
    names = plain_names(labels)
    train, test = fixed_part(labels)
    return image_data(images[train], labels[train], names), image_data(images[test], labels[test], names)
