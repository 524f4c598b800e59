"""Class and sample names of users' data sets, and of what these are wrapped in."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import ConcatDataset, Dataset, Subset

from natmu.arguments import Inputs
from natmu.data import ImageData, from_dataset, require_same_classes
from natmu.errors import DataError, ModelError

NAMES = ["cat", "dog", "sea"]


class Plain(Dataset):
    """Six images of three classes."""

    def __init__(self, **told: object) -> None:
        self.targets = [0, 1, 2, 0, 1, 2]
        self.__dict__ |= told

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        return np.full((4, 4), index, np.uint8), self.targets[index]


class Wrapper(Plain):
    """Another data set with other images, and maybe other labels."""

    def __init__(self, dataset: Plain, relabel: dict[int, int] | None = None) -> None:
        self.dataset, self.relabel = dataset, relabel or {}

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        image, label = self.dataset[index]
        return image[:, ::-1], self.relabel.get(label, label)


class Column:
    """A label column of a HuggingFace data set."""

    names = NAMES


@pytest.mark.parametrize(
    ("dataset", "names"),
    [
        (Plain(classes=NAMES), NAMES),
        (Plain(features={"label": Column}), NAMES),
        (Subset(Plain(classes=NAMES), [0, 3, 1]), NAMES),
        (Subset(Subset(Plain(classes=NAMES), [0, 3, 1]), [2, 1]), NAMES),
        (ConcatDataset([Plain(classes=NAMES), Subset(Plain(classes=NAMES), [0])]), NAMES),
        (ConcatDataset([Plain(classes=NAMES), Plain(classes=NAMES[::-1])]), ["0", "1", "2"]),
        (Wrapper(Plain(classes=NAMES)), NAMES),
        (Wrapper(Plain(classes=NAMES), {0: 2, 2: 0}), ["0", "1", "2"]),
        (Plain(), ["0", "1", "2"]),
    ],
)
def test_class_names_are_found_where_labels_are_the_same(dataset: Dataset, names: list[str]) -> None:
    assert [*from_dataset(dataset).class_names] == names


def test_files_of_a_folder_data_set_are_names() -> None:
    samples = [(f"/photos/{NAMES[row % 3]}/{row}.png", row % 3) for row in range(6)]
    folder = Plain(root="/photos", samples=samples, classes=NAMES)
    assert [*from_dataset(folder).names][:2] == ["cat/0.png", "dog/1.png"]
    assert [*from_dataset(Subset(folder, [4, 2])).names] == ["dog/4.png", "sea/2.png"]
    assert [*from_dataset(Plain()).names] == [*map(str, range(6))]
    renamed = from_dataset(from_dataset(folder), ["a", "b", "c"])
    assert (renamed.class_names, renamed.names[2]) == (("a", "b", "c"), "sea/2.png")


def test_labels_that_count_from_one_are_told_of_where_the_model_does_not_fit() -> None:
    data = ImageData(torch.zeros(6, 1, 2, 2, dtype=torch.uint8), torch.tensor([1, 2, 3] * 2), ("0", "1", "2", "3"))
    Inputs([data]).model(nn.Sequential(nn.Flatten(), nn.Linear(4, 4)), "model")
    with pytest.raises(ModelError, match="they run from 1 to 3: where they count from 1, subtract 1"):
        Inputs([data]).model(nn.Sequential(nn.Flatten(), nn.Linear(4, 3)), "model")
    counted = ImageData(data.images, data.labels - 1, ("0", "1", "2"))
    with pytest.raises(ModelError) as refused:
        Inputs([counted]).model(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), "model")
    assert "No label is 0" not in str(refused.value)


def test_test_data_whose_folders_number_the_classes_otherwise_is_refused():
    """An ImageFolder without one of the classes counts the others from 0 all the same."""
    require_same_classes(["cat", "dog", "elk"], ["cat", "dog"], "the test data")
    require_same_classes(["cat", "dog", "elk"], ["0", "1"], "the test data")
    with pytest.raises(DataError, match="Label 1 is 'dog' in the training data and 'elk' in the test data"):
        require_same_classes(["cat", "dog", "elk"], ["cat", "elk"], "the test data")


def test_a_data_set_of_ones_own_tells_names_without_a_root() -> None:
    """By the folder that holds all paths, or one name for each item."""
    samples = [[f"/photos/{NAMES[row % 3]}/{row}.png", row % 3] for row in range(6)]
    paths = ["cat/0.png", "dog/1.png", "sea/2.png", "cat/3.png", "dog/4.png", "sea/5.png"]
    own = Plain(samples=samples, classes=NAMES)
    assert [*from_dataset(own).names] == paths
    assert [*from_dataset(Subset(own, [4, 0])).names] == ["dog/4.png", "cat/0.png"]
    assert [*from_dataset(Plain(samples=[tuple(one) for one in samples], root="/elsewhere")).names] == paths
    assert [*from_dataset(Plain(samples=samples, names=np.array([*"uvwxyz"]))).names] == [*"uvwxyz"]
    positions = [*map(str, range(6))]
    for told in ({"names": NAMES}, {"names": NAMES * 2}, {"names": range(6)}, {"samples": samples[:5]}):
        assert [*from_dataset(Plain(**told)).names] == positions
