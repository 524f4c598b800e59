"""Wrong labels: which samples a table or a mapping means, what is refused, and the data with the corrected pairs."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from natmu.data import (
    ImageData,
    corrected_samples,
    forget_after,
    forget_from_indices,
    forget_relabelled,
    load,
    parse_forget,
    resolve_forget,
    with_copies,
    with_corrections,
)
from natmu.engine.compute import Compute
from natmu.errors import DataError, ForgetSetError
from natmu.methods import Problem
from natmu.types import ForgetSet

CLASSES = ("cat", "dog", "owl")


@pytest.fixture
def data() -> ImageData:
    """Twelve photographs in three classes, none like another."""
    images = torch.arange(12, dtype=torch.uint8)[:, None, None, None].expand(12, 1, 2, 2).contiguous()
    labels = torch.arange(12) % 3
    return ImageData(images, labels, CLASSES, names=tuple(f"{CLASSES[row % 3]}/{row:03}.png" for row in range(12)))


def table(path: Path, rows: Sequence[Sequence[object]]) -> str:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return f"relabel:{path}"


def resolved(text: str, data: ImageData, after: ForgetSet | None = None) -> ForgetSet:
    return resolve_forget(parse_forget(text), data, seed=0, after=after)


def test_a_table_and_a_mapping_mean_the_same(tmp_path: Path, data: ImageData) -> None:
    wanted = [[1, 0], [5, 0], [9, 2]]
    by_name = table(
        tmp_path / "a.csv", [("label", "file"), ("owl", "009.png"), ("Cat", "owl/005.png"), ("#0", "001.png")]
    )
    by_place = table(tmp_path / "b.csv", [("index", "class"), (9, 2), (1, "cat"), (5, 0)])
    mappings: list[Mapping[object, object]] = [
        {"cat/009.png": "owl", "owl/005.png": "cat", "dog/001.png": 0},
        {5: np.int64(0), 9: "owl", np.int64(1): torch.tensor(0)},
    ]
    found = [resolved(text, data) for text in (by_name, by_place)]
    found += [forget_relabelled(labels, data) for labels in mappings]
    for forget in found:
        assert forget.corrections.tolist() == wanted
        assert forget.indices.tolist() == [1, 5, 9]
        assert forget.corrected is not None
        assert forget.corrected.tolist() == [0, 0, 2]
        assert (forget.scenario, forget.digest) == ("indices", found[0].digest)
    assert parse_forget(by_name).text == by_name
    others = [forget_from_indices([1, 5, 9], data), forget_relabelled({1: 0, 5: 1, 9: 2}, data)]
    assert len({forget.digest for forget in [found[0], *others]}) == 3


def test_positions_in_a_table_are_those_of_the_source_and_in_python_those_of_the_data(tmp_path: Path) -> None:
    whole, part = load("digits", tmp_path).train, load("digits", tmp_path, train_size=50).train
    source = int(part.names[7])
    right = (int(part.labels[7]) + 1) % 10
    text = table(tmp_path / "a.csv", [("index", "label"), (source, right)])
    assert resolved(text, part).corrections.tolist() == [[7, right]]
    assert resolved(text, whole).corrections.tolist() == [[source, right]]
    assert forget_relabelled({7: right}, part).corrections.tolist() == [[7, right]]


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([("file", "label"), ("dog/001.png", "dog")], "'dog/001.png' with the label that the data has"),
        ([("file", "label"), ("dog/001.png", "bird")], "There is no class 'bird'"),
        ([("file", "label"), ("dog/001.png", 3)], "There is no class '3'"),
        ([("file", "label"), ("dog/001.png", "cat"), ("001.png", "owl")], "'dog/001.png' more than once"),
        ([("file", "label"), ("dog/099.png", "cat")], "lists 1 name that no sample has"),
        ([("index", "label"), (12, "cat")], "must be below 12"),
        ([("index", "label"), ("dog/001.png", "cat")], "must be integers, but these are not so: 'dog/001.png'"),
        ([("index", "label"), (1, "cat"), (1, "owl")], "must not repeat"),
        ([("file", "right"), ("dog/001.png", "cat")], "one called label or class; it has 'file', 'right'"),
        ([("label",), ("cat",)], "needs a column called file, name, path or index"),
        ([("file", "label")], "at least one more line"),
        ([("index", "label"), *((row, (row + 1) % 3) for row in range(12))], "at least one must be retained"),
    ],
)
def test_what_is_no_correction_is_refused(tmp_path: Path, data: ImageData, rows: Sequence[Any], sentence: str) -> None:
    with pytest.raises(ForgetSetError) as error:
        resolved(table(tmp_path / "fixes.csv", rows), data)
    assert sentence in str(error.value)


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        ({}, "are empty"),
        ({1: "cat", "cat/009.png": "owl"}, "must be integers"),
        ({1: 3}, "The right label 3 is not a class"),
        ({1: 0.5}, "The right label 0.5 is not a class"),
        ({-1: 0}, "must not be negative"),
        ({1: 1}, "with the label that the data has"),
    ],
)
def test_what_is_no_mapping_of_corrections_is_refused(data: ImageData, labels: dict[Any, Any], sentence: str) -> None:
    with pytest.raises(ForgetSetError) as error:
        forget_relabelled(labels, data)
    assert sentence in str(error.value)
    with pytest.raises(ForgetSetError, match="lists them; list them"):
        with_copies(forget_relabelled({1: 0}, data), data)


@pytest.mark.parametrize("mapped", [False, True])
def test_the_data_with_corrected_pairs(tmp_path: Path, data: ImageData, mapped: bool) -> None:
    if mapped:
        np.save(tmp_path / "images.npy", data.images)
        data = replace(data, images=np.load(tmp_path / "images.npy", mmap_mode="r"))
    forget = forget_relabelled({5: 0, 1: 2}, data).after(forget_from_indices([3], data))
    seen = with_corrections(data, forget)
    assert with_corrections(data, forget_from_indices([3], data)) is data
    pairs = [
        (int(image[0, 0, 0]), int(label)) for image, label in zip(seen.take(torch.arange(14)), seen.labels, strict=True)
    ]
    assert pairs == [*((row, row % 3) for row in range(12)), (1, 2), (5, 0)]
    assert seen.names[12] == "dog/001.png"
    assert mapped != isinstance(seen.images, torch.Tensor)
    problem = Problem(torch.nn.Identity(), seen, forget, None, Compute.choose("cpu", "fp32"))
    kept = problem.retain_positions
    images = seen.take(kept)[:, 0, 0, 0].tolist()
    wanted = {(row, row % 3) for row in range(12)} - {(1, 1), (5, 2), (3, 0)} | {(1, 2), (5, 0)}
    assert Counter(zip(images, problem.labels(kept).tolist(), strict=True)) == Counter(wanted)
    assert problem.labels(problem.forget_positions).tolist() == [1, 2], "what is forgotten is the wrong pair"


def test_a_sequence_keeps_what_was_corrected_but_in_forgotten_classes(data: ImageData) -> None:
    first = forget_relabelled({1: "cat", 2: "dog"}, data)
    second = forget_relabelled({3: "owl"}, data, first)
    assert second.corrections.tolist() == [[1, 0], [2, 1], [3, 2]]
    assert second.corrected is not None
    assert second.corrected.tolist() == [2]
    assert second.digest == forget_relabelled({3: "owl"}, data).digest
    assert forget_after(second, data, first).corrections.tolist() == second.corrections.tolist()
    third = resolved("class:cat", data, second)
    assert third.corrections.tolist() == [[2, 1], [3, 2]]
    assert third.corrected is None
    with pytest.raises(ForgetSetError, match="corrects labels to 'cat', a class that was forgotten before"):
        forget_relabelled({4: "cat"}, data, third)
    with pytest.raises(ForgetSetError, match=r"dog/001\.png; leave them out, or forget it from the original"):
        forget_from_indices([1], data, second)


class Own(Dataset[Any]):
    """A user's data set, whose labels count from 1 and whose items may be mappings or have more than a label."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> Any:
        label = 1 + index % 3
        if self.kind == "mapping":
            return {"image": f"image {index}", "label": label, "note": index}
        return (f"image {index}", label) if self.kind == "pair" else (f"image {index}", label, f"note {index}")


@pytest.mark.parametrize("kind", ["pair", "triple", "mapping"])
def test_a_trainer_gets_its_own_items_with_its_own_labels(data: ImageData, kind: str) -> None:
    own = Own(kind)
    seen: Any = corrected_samples(own, data, forget_relabelled({5: 0, 1: 2}, data))
    assert len(seen) == 14
    assert [seen[row] for row in range(12)] == [own[row] for row in range(12)]
    wanted = {
        "pair": [("image 1", 3), ("image 5", 1)],
        "triple": [("image 1", 3, "note 1"), ("image 5", 1, "note 5")],
        "mapping": [{"image": "image 1", "label": 3, "note": 1}, {"image": "image 5", "label": 1, "note": 5}],
    }
    assert [seen[12], seen[13]] == wanted[kind] == [seen[-2], seen[-1]]
    with pytest.raises(IndexError):
        seen[14]
    assert corrected_samples(own, data, forget_from_indices([1], data)) is own
    without_owls = replace(data, labels=data.labels.clamp(max=1))
    with pytest.raises(DataError, match="No training sample is of the class 'owl'"):
        corrected_samples(own, without_owls, forget_relabelled({0: "owl"}, without_owls))
