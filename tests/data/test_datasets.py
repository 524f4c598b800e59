"""Any map-style data set as labelled uint8 images."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, Subset, TensorDataset

from natmu.data import ImageData, from_dataset
from natmu.errors import DataError

COLOUR = np.random.default_rng(0).integers(0, 256, (6, 5, 7, 3), dtype=np.uint8)
LABELS = [0, 1, 2, 0, 1, 2]


def _first(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image.transpose(2, 0, 1).copy())


class _Stand(Dataset):
    """What torchvision's data sets look like."""

    def __init__(self, transform: Callable[[Image.Image], object] | None = None) -> None:
        self.data = COLOUR
        self.targets = LABELS
        self.classes = ["a", "b", "c"]
        self.transform = transform
        self.target_transform = None
        self.read = 0

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[object, int]:
        self.read += 1
        image = Image.fromarray(self.data[index])
        return (image if self.transform is None else self.transform(image)), self.targets[index]


def _same(data: ImageData, expected: np.ndarray = COLOUR) -> bool:
    return np.array_equal(data.take(torch.arange(len(data))).numpy(), expected.transpose(0, 3, 1, 2))


@pytest.mark.parametrize(
    "convert",
    [
        Image.fromarray,
        lambda image: image,
        _first,
        lambda image: image.transpose(2, 0, 1),
        lambda image: _first(image) / 255,
        lambda image: _first(image).double() / 255,
        lambda image: image.astype(np.float32) / 255,
    ],
)
@pytest.mark.parametrize("label", [int, np.int64, torch.tensor, lambda label: np.array([label])])
def test_every_kind_of_image_and_label(convert: Callable, label: Callable) -> None:
    data = from_dataset([(convert(image), label(value)) for image, value in zip(COLOUR, LABELS, strict=True)])
    assert _same(data)
    assert data.labels.tolist() == LABELS
    assert data.class_names == ("0", "1", "2")


def test_a_tensor_of_a_narrow_image_is_not_mistaken_for_height_width_channels() -> None:
    images = torch.from_numpy(COLOUR[:, :, :3, 0].copy())[:, None].repeat(1, 4, 1, 1)
    assert from_dataset([(image, 0) for image in images]).image_shape == (4, 5, 3)


def test_grey_images() -> None:
    grey = COLOUR[..., 0]
    for convert in (Image.fromarray, torch.from_numpy, lambda image: image[None], lambda image: image[..., None]):
        data = from_dataset([(convert(image.copy()), 0) for image in grey])
        assert _same(data, grey[..., None])


def test_grey_among_colour_becomes_colour() -> None:
    images = [Image.fromarray(image) for image in COLOUR]
    for first in (0, 3):
        mixed = [(image.convert("L") if row == first else image, 0) for row, image in enumerate(images)]
        data = from_dataset(mixed)
        expected = COLOUR.copy()
        expected[first] = np.asarray(images[first].convert("L"))[..., None]
        assert _same(data, expected)


def test_a_data_set_without_transforms_is_taken_whole() -> None:
    stand = _Stand()
    data = from_dataset(stand)
    assert _same(data)
    assert data.class_names == ("a", "b", "c")
    many = _Stand()
    many.data, many.targets = np.repeat(COLOUR, 50, axis=0), LABELS * 50
    assert _same(from_dataset(many), many.data)
    assert many.read < 40


def test_a_data_set_with_transforms_is_read_item_by_item() -> None:
    stand = _Stand(transform=lambda image: torch.from_numpy(255 - np.asarray(image)).permute(2, 0, 1))
    assert _same(from_dataset(stand), 255 - COLOUR)


def test_a_data_set_whose_items_differ_from_its_data_is_read_item_by_item() -> None:
    class Relabelled(_Stand):
        def __getitem__(self, index: int) -> tuple[object, int]:
            return super().__getitem__(index)[0], 7

    assert from_dataset(Relabelled(), [str(n) for n in range(8)]).labels.tolist() == [7] * 6


def test_tensor_data_sets_and_subsets() -> None:
    whole = TensorDataset(torch.from_numpy(COLOUR).permute(0, 3, 1, 2), torch.tensor(LABELS))
    assert _same(from_dataset(whole))
    part = from_dataset(Subset(whole, [4, 2]))
    assert _same(part, COLOUR[[4, 2]])
    assert part.labels.tolist() == [1, 2]


@pytest.mark.parametrize("labels", [LABELS, np.array(LABELS), torch.tensor(LABELS, dtype=torch.int32)])
@pytest.mark.parametrize("images", [COLOUR, torch.from_numpy(COLOUR), torch.from_numpy(COLOUR).permute(0, 3, 1, 2)])
def test_a_pair_of_arrays(images: object, labels: object) -> None:
    data = from_dataset((images, labels), class_names=["x", "y", "z"])
    assert _same(data)
    assert data.labels.tolist() == LABELS
    assert data.class_names == ("x", "y", "z")


def test_image_data_passes() -> None:
    data = from_dataset((COLOUR, LABELS))
    assert from_dataset(data).digest == data.digest
    assert from_dataset(data, ["x", "y", "z"]).class_names == ("x", "y", "z")


def test_random_transforms_are_refused() -> None:
    generator = np.random.default_rng(0)
    stand = _Stand(transform=lambda image: np.roll(np.asarray(image), generator.integers(5), axis=0))
    with pytest.raises(DataError, match="random transforms"):
        from_dataset(stand)


@pytest.mark.parametrize(
    ("dataset", "reason"),
    [
        (7, "not a data set"),
        ("cifar10", "not a data set"),
        ({0: (COLOUR[0], 1)}, "not a data set"),
        (iter([]), "not a data set"),
        (None, "not a data set"),
        ([], "empty"),
        ([COLOUR[0]], "not a pair"),
        ([(COLOUR[0], 1, 2)], "not a pair"),
        ([(COLOUR[0], 1.0)], "labels must be integers"),
        ([(COLOUR[0], True)], "labels must be integers"),
        ([(COLOUR[0], "cat")], "labels must be integers"),
        ([(COLOUR[0], torch.tensor(0.5))], "labels must be integers"),
        ([(COLOUR[0], torch.tensor([1, 2]))], "labels must be integers"),
        ([(COLOUR[0], -1)], "number the classes"),
        ([(COLOUR[0], 10**7)], "number the classes"),
        ([("path.png", 0)], "is a str"),
        ([(COLOUR[0].astype(int), 0)], "must be uint8"),
        ([(torch.randn(3, 4, 4), 0)], "floats outside"),
        ([(COLOUR[0, 0, 0], 0)], "has shape"),
        ([(np.zeros((0, 4), np.uint8), 0)], "has shape"),
        ([(COLOUR[0], 0), (COLOUR[0, :4], 0)], "image 1 has"),
        ([(torch.zeros(2, 4, 4), 0), (torch.zeros(3, 4, 4), 0)], "channels"),
        ([(Image.new("I", (4, 4)), 0)], "eight bits"),
        ((COLOUR, [0, 1]), "one integer for each"),
        ((COLOUR, [[0], [1, 2]]), "cannot be read as an array"),
        ((COLOUR, None), "one integer for each"),
    ],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_anything_else_is_refused(dataset: object, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        from_dataset(dataset)


def test_too_few_names_are_refused() -> None:
    with pytest.raises(DataError, match="there are 2 names"):
        from_dataset((COLOUR, LABELS), ["a", "b"])
