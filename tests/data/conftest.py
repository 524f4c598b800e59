"""Fixtures for the data tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch

from natmu.data import ImageData, Labelling

from .fakes import COARSE_NAMES, FINE_NAMES, write_image


@pytest.fixture
def image_tree(tmp_path: Path) -> Callable[[Mapping[str, int]], Path]:
    """Writes folders of images, given the number of images in each, and returns their root."""

    def write(counts: Mapping[str, int]) -> Path:
        root = tmp_path / "tree"
        for number, (folder, count) in enumerate(counts.items()):
            for row in range(count):
                write_image(root / folder / f"{row:03}.png", seed=number * 1000 + row)
        return root

    return write


@pytest.fixture(scope="session")
def hundred() -> ImageData:
    """100 images of CIFAR-100's kind: four classes of unequal size in two superclasses."""
    labels = torch.tensor([0] * 40 + [1] * 30 + [2] * 20 + [3] * 10)
    return ImageData(
        torch.zeros(100, 1, 2, 2, dtype=torch.uint8),
        labels,
        FINE_NAMES,
        coarse=Labelling(torch.tensor([0, 1, 0, 1])[labels], COARSE_NAMES),
    )


@pytest.fixture(scope="session")
def twenty(hundred: ImageData) -> ImageData:
    """The same images labelled by superclass, with the classes as fine labels."""
    assert hundred.coarse is not None
    return ImageData(
        hundred.images, hundred.coarse.labels, COARSE_NAMES, fine=Labelling(hundred.labels, hundred.class_names)
    )
