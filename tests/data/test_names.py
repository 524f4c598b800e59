"""What samples are called, and requests that name them."""

from __future__ import annotations

import csv
import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from unicodedata import normalize

import numpy as np
import pytest
import torch

from natmu.data import ImageData, Splits, forget_from_indices, load, parse_forget, resolve_forget
from natmu.data.forgetting import chosen
from natmu.errors import ForgetSetError
from natmu.progress import deciding
from natmu.records.forgetting import with_manifest
from natmu.records.names import SampleNames
from natmu.samples.lookup import rows_named

Tree = Callable[[Mapping[str, int]], Path]


def meant(text: str, data: ImageData) -> list[str]:
    forget = resolve_forget(parse_forget(text), data, seed=0)
    assert forget.scenario == "indices"
    return [data.names[row] for row in forget.indices]


def write_rows(path: Path, rows: Sequence[Sequence[object]], delimiter: str = ",") -> Path:
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)
    return path


@pytest.fixture
def photos(image_tree: Tree, tmp_path: Path) -> Splits:
    """A folder that is not divided: 12 photographs, three of which are test images."""
    root = image_tree({"cat": 8, "dog": 4})
    (root / "dog" / "000.png").rename(root / "dog" / "rex.png")
    return load(str(root), tmp_path, test_fraction=0.25)


def test_names_are_kept_by_every_part_and_by_other_processes(tmp_path: Path, photos: Splits) -> None:
    everything = (
        [f"cat/{row:03}.png" for row in range(8)] + [f"dog/{row:03}.png" for row in (1, 2, 3)] + ["dog/rex.png"]
    )
    assert sorted([*photos.train.names, *photos.test.names]) == everything
    part = photos.train.subset([5, 0])
    assert [*part.names] == [photos.train.names[5], photos.train.names[0]]
    assert [*pickle.loads(pickle.dumps(part)).names] == [*part.names]
    assert [*part.kept_as(part.images).names] == [*part.names]
    digits = load("digits", tmp_path, train_size=100)
    positions = [int(name) for name in digits.train.names]
    whole = load("digits", tmp_path).train
    assert positions != [*range(100)]
    assert torch.equal(whole.take(torch.tensor(positions)), digits.train.take(torch.arange(100)))
    assert ImageData(part.images, part.labels, part.class_names).digest == part.digest


def test_positions_are_those_of_the_source_whatever_became_of_it(tmp_path: Path, photos: Splits) -> None:
    """The third and tenth photograph of the folder, though a part of it was set apart before them."""
    everything = sorted([*photos.train.names, *photos.test.names])
    train = [place for place, name in enumerate(everything) if name in [*photos.train.names]]
    listed = tmp_path / "i.txt"
    listed.write_text(f"{train[2]}\n{train[-1]}\n")
    assert meant(f"indices:{listed}", photos.train) == [everything[train[2]], everything[train[-1]]]
    gone = photos.test.names[1]
    listed.write_text(str(everything.index(gone)))
    with pytest.raises(ForgetSetError, match=f"1 sample of the test part, '{gone}'; only training samples"):
        meant(f"indices:{listed}", photos.train)
    small = load("digits", tmp_path, train_size=100).train
    listed.write_text("\n".join(small.names[row] for row in (7, 3)))
    assert resolve_forget(parse_forget(f"indices:{listed}"), small, seed=0).indices.tolist() == [3, 7]
    left_out = next(place for place in range(1438) if str(place) not in [*small.names])
    listed.write_text(str(left_out))
    with pytest.raises(ForgetSetError, match=f"cut without, '{left_out}'.*--train-size"):
        meant(f"indices:{listed}", small)


@pytest.mark.parametrize("kind", ["txt", "csv", "column", "json", "elsewhere", "windows"])
def test_lists_of_names(tmp_path: Path, photos: Splits, kind: str) -> None:
    wanted = [name for name in photos.train.names if name.startswith("cat")][2:4]
    path = tmp_path / ("list.json" if kind == "json" else "list.csv" if kind in ("csv", "column") else "list.txt")
    if kind == "json":
        path.write_text(str(wanted).replace("'", '"'))
    elif kind == "column":
        write_rows(path, [("when", "Path"), *((1, name) for name in wanted)], ";")
    elif kind == "csv":
        write_rows(path, [(name,) for name in wanted])
    else:
        before = {"elsewhere": "/home/me/photos/", "windows": "photos/"}.get(kind, "")
        lines = ["# to be deleted", *(before + name for name in wanted), ""]
        path.write_bytes("\r\n".join(lines).replace("/", "\\" if kind == "windows" else "/").encode("utf-8-sig"))
    assert meant(f"files:{path}", photos.train) == wanted


def test_names_that_are_short_unknown_several_or_of_the_test_part(tmp_path: Path, photos: Splits) -> None:
    path = tmp_path / "list.txt"

    def asked(*names: str) -> list[str]:
        path.write_text("\n".join(names))
        return meant(f"files:{path}", photos.train)

    rex = [name for name in photos.train.names if name.endswith("rex.png")]
    assert rex
    assert asked("rex.png", "dog/rex.png") == rex
    with pytest.raises(ForgetSetError, match=r"'001.png', which may mean 2 samples: cat/001.png, dog/001.png"):
        asked("001.png")
    with pytest.raises(
        ForgetSetError, match=r"2 names that no sample has: 'dog/rexx.png' \(did you mean dog/rex.*'x'\."
    ):
        asked("dog/rexx.png", "x", "cat/001.png")
    with pytest.raises(ForgetSetError, match=f"1 sample of the test part, '{photos.test.names[0]}'"):
        asked(photos.test.names[0])
    with pytest.raises(ForgetSetError, match="is empty"):
        asked("")
    path.write_text("dog/rex.png")
    with pytest.raises(ForgetSetError, match=r"lists names, such as 'dog/rex.png'.*write files:"):
        meant(f"indices:{path}", photos.train)


def test_parts_with_folders_of_their_own(image_tree: Tree, tmp_path: Path) -> None:
    splits = load(str(image_tree({"train/a": 2, "train/b": 2, "test/a": 1, "test/b": 1})), tmp_path)
    path = tmp_path / "list.txt"
    path.write_text("train/b/001.png")
    assert meant(f"files:{path}", splits.train) == ["train/b/001.png"]
    path.write_text("test/b/000.png")
    with pytest.raises(ForgetSetError, match=r"1 sample of the test part, 'test/b/000.png'"):
        meant(f"files:{path}", splits.train)
    path.write_text("b/000.png")
    with pytest.raises(ForgetSetError, match=r"train/b/000.png, test/b/000.png"):
        meant(f"files:{path}", splits.train)
    path.write_text("b/001.png")
    assert meant(f"files:{path}", splits.train) == ["train/b/001.png"]
    rows = [("train/a/000.png", 1), ("test/a/000.png", 1), ("test/b/000.png", 1), ("test/b/000.png", 2)]
    table = write_rows(tmp_path / "people.csv", [("file", "person"), *rows])
    with deciding() as decisions:
        assert meant(f"where:person=1 in {table}", splits.train) == ["train/a/000.png"]
    assert decisions == [
        f"'where:person=1 in {table}' means 2 samples of the test part, 'test/a/000.png', 'test/b/000.png', which "
        "stay there: nothing is trained on them."
    ]
    with pytest.raises(ForgetSetError, match=r"means 1 sample of the test part, 'test/b/000.png'; only training"):
        meant(f"where:person=2 in {table}", splits.train)


def test_a_column_of_a_table_chooses_samples(tmp_path: Path, photos: Splits) -> None:
    rows = [(name, number % 3, "x in y") for number, name in enumerate(photos.train.names)]
    table = write_rows(tmp_path / "people.csv", [("image", "Person", "remark"), *rows])
    wanted = [name for name, person, _ in rows if person == 2]
    assert meant(f"where:person=2 in {table}", photos.train) == wanted
    assert meant(with_manifest("where: person = 2.0", table), photos.train) == wanted
    visits = write_rows(tmp_path / "visits.csv", [("Person", "age"), (17, 3), (18, 4), (17, 5)])
    with pytest.raises(
        ForgetSetError, match=r"its first column, 'Person', does not name samples: '17' is in it more than once"
    ):
        meant(f"where:age=4 in {visits}", load("digits", tmp_path, train_size=100).train)
    assert with_manifest(f"where:person=2 in {table}", "other.csv") == f"where:person=2 in {table}"
    with pytest.raises(ForgetSetError, match="means all 9 training samples"):
        meant(f"where:remark=x in y in {table}", photos.train)
    with pytest.raises(ForgetSetError, match=r"no column 'persn' .did you mean Person"):
        meant(f"where:persn=2 in {table}", photos.train)
    with pytest.raises(ForgetSetError, match=r"No row of .* has '7' in the column person; there are '0', '1', '2'"):
        meant(f"where:person=7 in {table}", photos.train)
    with pytest.raises(ForgetSetError, match="--manifest"):
        parse_forget("where:person=2")
    write_rows(table, [("Person", "file"), (1, photos.train.names[0]), (1, photos.test.names[0])])
    with pytest.raises(ForgetSetError, match=f"means 1 sample of the test part, '{photos.test.names[0]}'"):
        meant(f"where:person=1 in {table}", photos.train)


def test_python_takes_names_masks_and_positions(photos: Splits) -> None:
    train = photos.train
    names = [train.names[4], train.names[1]]
    mask = np.isin(np.arange(len(train)), [1, 4])
    forms: list[object] = [[4, 1], names, np.array(names), mask, torch.from_numpy(mask), mask.tolist()]
    assert [forget_from_indices(form, train).indices.tolist() for form in forms] == [[1, 4]] * len(forms)  # type: ignore[arg-type]
    assert forget_from_indices([Path("photos", name) for name in names], photos.train).indices.tolist() == [1, 4]
    with pytest.raises(ForgetSetError, match="0 and 1 for each sample; a mask must be of true and false"):
        forget_from_indices(mask.astype(int), train)
    accented = replace(
        train, names=SampleNames.of_source(len(train), [normalize("NFD", f"é{row}.png") for row in range(len(train))])
    )
    assert forget_from_indices([normalize("NFC", "é3.png")], accented).indices.tolist() == [3]
    with pytest.raises(ForgetSetError, match="a mask of shape"):
        forget_from_indices(mask[:-1], train)
    with pytest.raises(ForgetSetError, match="hold 1 name that no sample has: 'x'"):
        forget_from_indices(["x"], train)
    with pytest.raises(ForgetSetError, match=f"of the test part, '{photos.test.names[0]}'"):
        forget_from_indices([photos.test.names[0]], train)
    with pytest.raises(ForgetSetError, match="no sample has: 'x'; samples of this data are called by their positions"):
        forget_from_indices(["x"], ImageData(train.images, train.labels, train.class_names))


def test_what_was_chosen_is_said(photos: Splits) -> None:
    forget = forget_from_indices([0, 1, 8], photos.train)
    names = ", ".join(photos.train.names[row] for row in (0, 1, 8))
    told = f"The forget set is 3 of 9 training samples, of cat (2), dog (1): {names}"
    assert chosen(forget, photos.train) == told


@pytest.mark.parametrize("content", ["0\n17\n42\n", "0\r\n42\r\n17\r\n"])
def test_a_column_that_pandas_left_unnamed_is_refused(tmp_path: Path, content: str) -> None:
    """``DataFrame([17, 42]).to_csv(path, index=False)`` writes the header 0 (pandas, issue 12627)."""
    data = load("digits", tmp_path).train
    path = tmp_path / "i.csv"
    path.write_text(content)
    with pytest.raises(ForgetSetError, match=r"first line is 0.*write the line 'index'"):
        meant(f"indices:{path}", data)
    path.write_text("index\n" + content)
    assert meant(f"indices:{path}", data) == ["0", "17", "42"]
    path.write_text(content)
    with pytest.raises(ForgetSetError, match=r"first line of .* is 0.*Write the line 'name'"):
        meant(f"files:{path}", data)
    path.write_text("17\n42\n")
    assert meant(f"indices:{path}", data) == ["17", "42"]


def test_the_same_file_elsewhere_is_suggested_for_each_name() -> None:
    """A wrong folder, and a wrong ending; three other photographs of the wrong folder look more alike."""
    rows = [f"train/bricks/IMG_010{row}.jpg" for row in range(1, 9)]
    names = SampleNames.of_source(11, [*rows, "train/stripes/IMG_0100.jpg", "val/a/IMG_0193.jpg", "val/IMG_0204.JPG"])
    asked = ["train/bricks/IMG_0100.jpg", "img_0193.JPG", "IMG_0204.jpeg", "zebra"]
    with pytest.raises(ForgetSetError) as refusal:
        rows_named(asked, names, "The list holds")
    assert str(refusal.value) == (
        "The list holds 4 names that no sample has: 'train/bricks/IMG_0100.jpg' "
        "(did you mean train/stripes/IMG_0100.jpg?), 'img_0193.JPG' (did you mean val/a/IMG_0193.jpg?), "
        "'IMG_0204.jpeg' (did you mean val/IMG_0204.JPG?), 'zebra'."
    )


def test_samples_that_are_gone_are_named() -> None:
    """By their names, or their positions in the source, of which the training data may be a part."""
    images, labels = torch.zeros(6, 1, 2, 2, dtype=torch.uint8), torch.arange(6) % 2
    for texts, told in (([*"uvwxyz"], "such as x;"), ([], "such as that at position 3;")):
        data = ImageData(images, labels, ("a", "b"), names=SampleNames.of_source(6, texts)).subset(np.arange(1, 6))
        with pytest.raises(ForgetSetError, match=told):
            forget_from_indices([2, 3], data, forget_from_indices([2], data))
