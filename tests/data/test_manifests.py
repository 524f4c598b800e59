"""Tables of images as a source of data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from natmu.data import load
from natmu.errors import DataError

from .fakes import write_image
from .test_names import write_rows


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """A folder of nine images."""
    for number in range(9):
        write_image(tmp_path / "album" / f"{number}.png", seed=number)
    return tmp_path / "album"


def test_a_table_of_images_with_parts(album: Path, tmp_path: Path) -> None:
    parts = ["Training", "test", "train", "val", "train", "testing", "TRAIN", "valid", "train"]
    rows = [(f"{number}.png", ("sea", "rock")[number % 2], part) for number, part in enumerate(parts)]
    rows[6] = ("6.png", "rock", "train")
    source = write_rows(album / "photos.csv", [("File", "Class", "Split"), *rows], ";")
    splits = load(str(source), tmp_path)
    assert splits.train.class_names == ("rock", "sea")
    assert [*splits.train.names] == ["0.png", "2.png", "4.png", "6.png", "8.png"]
    assert splits.train.labels.tolist() == [1, 1, 1, 0, 1]
    assert [*splits.test.names] == ["1.png", "5.png"]
    assert splits.holdout is not None
    assert [*splits.holdout.names] == ["3.png", "7.png"]
    with Image.open(album / "4.png") as image:
        assert np.array_equal(np.asarray(image).transpose(2, 0, 1), np.asarray(splits.train.images[2]))
    assert load(str(source), tmp_path, classes=("sea", "rock")).train.labels.tolist() == [0, 0, 0, 1, 0]


def test_labels_are_numbers_where_all_are(album: Path, tmp_path: Path) -> None:
    def labels(first: int, **options: object) -> list[int]:
        rows = [(f"{number}.png", number % 3 + first) for number in range(9)]
        source = write_rows(album / "photos.csv", [("path", "label"), *rows])
        splits = load(str(source), tmp_path, test=str(source), **options)  # type: ignore[arg-type]
        return splits.train.labels.tolist()

    plain = [number % 3 for number in range(9)]
    assert labels(0) == plain
    assert labels(0, classes=("a", "b", "c")) == plain
    assert labels(1, classes=("a", "b", "c")) == plain
    assert labels(1, classes=("3", "2", "1")) == [2 - label for label in plain]
    with pytest.raises(DataError, match="none is 0"):
        labels(1)


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([("a", "label"), ("0.png", 0)], "needs a column called file, name, path"),
        ([("file", "x"), ("0.png", 0)], "one called label, class"),
        ([("file", "class"), ("0.png", "a"), ("0.png", "b")], "'0.png' more than once"),
        ([("file", "class"), ("0.png", "a"), ("gone.png", "b")], r"lists .*gone\.png, which is not a file"),
        ([("file", "class"), ("0.png", "a"), ("1.png", "a")], "two or more classes; found 1"),
        ([("file", "class", "split"), ("0.png", "a", "dev"), ("1.png", "b", "")], "in the part 'dev'"),
        ([("file", "class", "split"), ("0.png", "a", "test"), ("1.png", "b", "test")], "no row whose split is train"),
        ([("file", "class"), ("0.png", "a"), ("1.png", ""), ("2.png", "b")], "gives '1.png' no class"),
        ([("file", "class"), ("0.png", "a", "b")], "Row 2 of .* has 3 cells for 2 columns"),
        ([("file", "class")], "at least one more line"),
    ],
)
def test_tables_that_are_refused(album: Path, tmp_path: Path, rows: list[tuple[object, ...]], reason: str) -> None:
    source = write_rows(album / "photos.csv", rows)
    with pytest.raises(DataError, match=reason):
        load(str(source), tmp_path, test_fraction=None if len(rows[0]) == 3 else 0.5)


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        (("01", "1", "2"), "the labels '01' and '1', which are the same number"),
        (("0", "1", "00"), "the labels '0' and '00', which are the same number"),
        (("0", "1", "9" * 25), f"the label '{'9' * 25}', which is too large"),
        (("0", "1", "9" * 5_000), "the label '9{159}…', which is too large"),
        (("0", "1", "999999999"), "the label '999999999', which is too large"),
    ],
)
def test_numbers_that_cannot_be_those_of_classes(
    album: Path, tmp_path: Path, labels: tuple[str, ...], told: str
) -> None:
    rows = [(f"{number}.png", labels[number % 3]) for number in range(9)]
    source = write_rows(album / "photos.csv", [("path", "label"), *rows])
    with pytest.raises(DataError, match=told):
        load(str(source), tmp_path, test=str(source))


def test_numbers_with_zeros_before_them_are_numbers(album: Path, tmp_path: Path) -> None:
    rows = [(f"{number}.png", f"{number % 3:020}") for number in range(9)]
    source = write_rows(album / "photos.csv", [("path", "label"), *rows])
    assert load(str(source), tmp_path, test=str(source)).train.labels.tolist() == [0, 1, 2] * 3


def test_a_table_without_parts_is_not_divided_unasked(album: Path, tmp_path: Path) -> None:
    source = write_rows(album / "p.csv", [("file", "class"), *((f"{row}.png", "ab"[row % 2]) for row in range(8))])
    with pytest.raises(DataError, match="no test part"):
        load(str(source), tmp_path)
    splits = load(str(source), tmp_path, test_fraction=0.25)
    assert (len(splits.train), len(splits.test)) == (6, 2)
    assert splits.own is not None
    for row in range(6):
        image, label = splits.own.train[row]
        assert label == splits.train.labels[row]
        assert np.array_equal(np.asarray(image).transpose(2, 0, 1), np.asarray(splits.train.images[row]))
