"""Any map-style data set as labelled uint8 images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import ConcatDataset, DataLoader, Dataset, IterableDataset, Subset, TensorDataset

from natmu.data import ImageData, from_dataset
from natmu.data.inputs import inputs
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


class _Library(_Stand):
    """One of torchvision's own, as far as that can be seen."""

    def __getitem__(self, index: int) -> tuple[object, int]:
        return super().__getitem__(index)

    __getitem__.__module__ = "torchvision.datasets.cifar"


class _Stream(IterableDataset):
    """A stream that knows its length."""

    def __iter__(self) -> Iterator[object]:
        return iter(zip(COLOUR, LABELS, strict=True))

    def __len__(self) -> int:
        return 6


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
    data = from_dataset(_Library())
    assert _same(data)
    assert data.class_names == ("a", "b", "c")
    many = _Library()
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


def test_a_subclass_that_changes_items_is_read_through_them_even_where_few_are_changed() -> None:
    class Poisoned(_Library):
        def __getitem__(self, index: int) -> tuple[object, int]:
            image, label = super().__getitem__(index)
            return (Image.new("RGB", (7, 5), "white"), 2) if index == 30 else (image, label)

    poisoned = Poisoned()
    poisoned.data, poisoned.targets = np.repeat(COLOUR, 50, axis=0), LABELS * 50
    data = from_dataset(poisoned)
    expected = poisoned.data.copy()
    expected[30] = 255
    assert _same(data, expected)
    assert data.labels.tolist() == [*(LABELS * 5), 2, *(LABELS * 50)[31:]]


def test_items_with_more_than_image_and_label() -> None:
    triples = [(image, label, f"{row}.png") for row, (image, label) in enumerate(zip(COLOUR, LABELS, strict=True))]
    numbered = [(image, label, row) for row, (image, label, _) in enumerate(triples)]
    mappings = [{"pixel_values": _first(image), "labels": label, "id": 7} for image, label, _ in triples]
    for items in (triples, numbered, mappings):
        data = from_dataset(items)
        assert _same(data)
        assert data.labels.tolist() == LABELS


def test_class_names_of_features() -> None:
    class Table(list):
        features: ClassVar = {"image": object(), "label": SimpleNamespace(names=["a", "b", "c"])}

    data = from_dataset(
        Table({"image": Image.fromarray(image), "label": label} for image, label in zip(COLOUR, LABELS, strict=True))
    )
    assert _same(data)
    assert data.class_names == ("a", "b", "c")


def test_floats_are_what_the_model_is_given() -> None:
    """Spectra of nine bands, depth maps of 32 bits, images normalised by the data set."""
    random = np.random.default_rng(1)
    bands = random.normal(5, 100, (6, 9, 12, 12)).astype(np.float32)
    depth = [Image.fromarray(image[0]) for image in bands]
    normalised = [(torch.from_numpy(image).permute(2, 0, 1) / 255 - 0.4) / 0.2 for image in COLOUR]
    halves = torch.from_numpy(bands).to(torch.bfloat16)
    for images, expected in (
        ([*torch.from_numpy(bands)], bands),
        (depth, bands[:, :1]),
        (normalised, torch.stack(normalised).numpy()),
        ([*halves], halves.float().numpy()),
    ):
        data = from_dataset([(image, 0) for image in images])
        assert data.floating
        assert np.array_equal(inputs(data.take(torch.arange(6))).numpy(), expected)


def test_types_of_images_that_come_one_by_one_grow_as_they_must() -> None:
    byte, half, single = torch.full((1, 2, 2), 51 / 255), torch.full((1, 2, 2), 1.5), torch.full((1, 2, 2), 0.1)
    zero = torch.zeros(1, 2, 2)
    for images, kind in (
        ([byte, zero], torch.uint8),
        ([zero, half], torch.float16),
        ([half, byte], torch.float32),
        ([byte, half], torch.float32),
        ([zero, half, single], torch.float32),
    ):
        data = from_dataset([(image, 0) for image in images])
        assert data.images.dtype == kind
        assert torch.equal(inputs(data.images), torch.stack(images))


def test_the_type_of_pixels_is_part_of_the_digest() -> None:
    halves = np.full((2, 1, 2, 2), 0.5, np.float16)
    digests = {
        ImageData(torch.from_numpy(one), torch.zeros(2).long(), ("a",)).digest
        for one in (halves, halves.view(np.uint8).reshape(2, 1, 2, 4)[..., :2].copy(), halves.astype(np.float32))
    }
    assert len(digests) == 3


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


class RandomFlip:
    """What torchvision's transforms look like."""

    def __init__(self, p: float) -> None:
        self.p = p

    def __call__(self, image: Image.Image) -> Image.Image:
        return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if np.random.default_rng().random() < self.p else image


class Flip(RandomFlip):
    """Random by its probability alone, as in other libraries."""


class Compose:
    """Transforms one after the other."""

    def __init__(self, *transforms: Callable) -> None:
        self.transforms = list(transforms)

    def __call__(self, image: Image.Image) -> object:
        for transform in self.transforms:
            image = transform(image)
        return image


RARE = RandomFlip(1e-9)  # never seen to be random by reading


@pytest.mark.parametrize(
    "make",
    [
        lambda: _Stand(RARE),
        lambda: _Stand(Flip(1e-9)),
        lambda: _Stand(Compose(np.asarray, Compose(RARE))),
        lambda: _Stand(lambda image: RARE(image)),
        lambda: _Stand(partial(Compose(RARE))),
        lambda: Subset(ConcatDataset([_Stand(), Subset(_Stand(RARE), [2])]), [0, 1]),
        lambda: _wrapped(_Stand(RARE)),
    ],
)
def test_random_transforms_are_found_wherever_they_sit(make: Callable[[], Dataset]) -> None:
    with pytest.raises(DataError, match=r"random transform \w*Flip: its items would be frozen"):
        from_dataset(make())


def _wrapped(inner: Dataset) -> Dataset:
    class Wrapper(Dataset):
        def __init__(self) -> None:
            self.base = inner

        def __len__(self) -> int:
            return 6

        def __getitem__(self, index: int) -> object:
            return inner[index]

    return Wrapper()


def test_items_that_change_are_found_wherever_they_are() -> None:
    state = np.random.default_rng(0)
    noisy = [(lambda: (state.integers(0, 255, (4, 4), np.uint8), 0)) if row == 40 else None for row in range(50)]

    class Odd(Dataset):
        def __len__(self) -> int:
            return 50

        def __getitem__(self, index: int) -> object:
            return noisy[index]() if noisy[index] else (np.full((4, 4), index, np.uint8), 0)

    with pytest.raises(DataError, match="Item 40 of the data set changes"):
        from_dataset(Odd())
    flips = iter(range(1000))
    with pytest.raises(DataError, match="Item 0 of the data set changes"):  # the label alone
        from_dataset(_Relabelling(lambda: next(flips) % 2))


class _Relabelling(_Stand):
    def __init__(self, draw: Callable[[], int]) -> None:
        super().__init__()
        self.draw = draw

    def __getitem__(self, index: int) -> tuple[object, int]:
        return super().__getitem__(index)[0], self.draw()


def test_what_only_looks_random_is_read() -> None:
    """A probability of 0, dropout of a network that is in eval mode, the generator of a split made once."""
    network = nn.Sequential(nn.Dropout(0.5)).eval()
    stand = _Stand(Compose(RandomFlip(0), lambda image: network(torch.from_numpy(np.array(image)).float()) / 255))
    stand.rng = np.random.RandomState(0)
    data = from_dataset(stand)
    assert data.image_shape == (5, 7, 3)  # a tensor's first axis is its channels


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
        ([(COLOUR[0], 1, 2)], "more than one integer that may be the label"),
        ([{"image": COLOUR[0], "img": COLOUR[0], "label": 1}], "must have exactly one image"),
        ([{"img": COLOUR[0], "fine_label": 1, "coarse_label": 0}], "rename or remove columns"),
        ([{"photo": COLOUR[0], "label": 1}], "Item 0 of the data set has 'photo', 'label'"),
        (DataLoader([(COLOUR[0], 1)]), r"its \.dataset"),
        (_Stream(), "A _Stream is not a data set of images with numbered items"),
        (list(DataLoader(TensorDataset(torch.zeros(6, 1, 4, 4), torch.tensor(LABELS)), 3)), "before it is cut"),
        ([(COLOUR[0], 1.0)], "labels must be integers"),
        ([(COLOUR[0], True)], "labels must be integers"),
        ([(COLOUR[0], "cat")], "labels must be integers"),
        ([(COLOUR[0], torch.tensor(0.5))], "labels must be integers"),
        ([(COLOUR[0], torch.tensor([1, 2]))], "labels must be integers"),
        ([(COLOUR[0], -1)], "number the classes"),
        ([(COLOUR[0], 10**7)], "number the classes"),
        ([("path.png", 0)], "is a str"),
        ([(COLOUR[0].astype(int), 0)], "must be uint8"),
        ([(torch.full((3, 4, 4), torch.nan), 0)], "Image 0 of the data set has pixels that are NaN"),
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
