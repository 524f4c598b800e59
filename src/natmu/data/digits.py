"""Scikit-learn's handwritten digits: real images that need no download."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from natmu.data.images import ImageData
from natmu.data.pixels import image_data, plain_names
from natmu.data.sampling import fixed_part

WRONG_CLASSES, WRONG_EVERY = 9, 12
"""Of ``with_wrong_labels``: how many classes have wrong labels, the first ones, and which part of their images."""


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


def with_wrong_labels() -> tuple[ImageData, ImageData]:
    """The digits with wrong labels, the same ones each time.

    Every twelfth training image of the digits 0 to 8, drawn at random, has the label of another one of these. All nines
    are labelled as nines, and the test set is as it was.
    """
    train, test = load_digits()
    right, rng = train.labels.numpy(), np.random.default_rng(0)
    candidates = np.flatnonzero(right < WRONG_CLASSES)
    wrong = rng.choice(candidates, len(candidates) // WRONG_EVERY, replace=False)
    labels = right.copy()
    labels[wrong] = (right[wrong] + rng.integers(1, WRONG_CLASSES, len(wrong))) % WRONG_CLASSES
    return replace(train, labels=torch.from_numpy(labels)), test
