"""Which number each class has, and data whose classes or parts are in doubt."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from natmu.data import catalogue, load, read_class_names
from natmu.data.class_order import is_doubtful, natural
from natmu.errors import DataError

from .fakes import write_image

Tree = Callable[[Mapping[str, int]], Path]
ENDINGS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")


def image_folder(root: str) -> list[tuple[str, int]]:
    """The rule of torchvision, torchvision/datasets/folder.py, ``find_classes`` and ``make_dataset``, step by step."""
    classes = sorted(entry.name for entry in os.scandir(root) if entry.is_dir())
    samples = []
    for number, name in enumerate(classes):
        for folder, _, files in sorted(os.walk(f"{root}/{name}", followlinks=True)):
            kept = [file for file in sorted(files) if file.lower().endswith(ENDINGS)]
            samples += [(os.path.relpath(f"{folder}/{file}", root), number) for file in kept]
    return samples


def test_folders_are_read_in_the_order_of_image_folder(tmp_path: Path) -> None:
    """Albums in albums, links, names that sort otherwise as paths than as texts, capitals and other files."""
    root = tmp_path / "photos"
    inside = ["z.png", "a-b/1.png", "a/2.png", "a/b/3.JPG", "a/10.png", "a/.png", "B/4.jpeg", "2019/x.png", "é/5.png"]
    for number, name in enumerate(inside):
        for place, group in enumerate(("zebra", "Ape")):
            write_image(root / group / "all" / "tmp.png", seed=2 * number + place)
            target = root / group / name
            target.parent.mkdir(parents=True, exist_ok=True)
            (root / group / "all" / "tmp.png").rename(target)
    (root / "Ape" / "a" / "notes.txt").write_text("x")
    write_image(tmp_path / "elsewhere" / "linked.png")
    (root / "zebra" / "album").symlink_to(tmp_path / "elsewhere")
    data = load(str(root), tmp_path, test=str(root)).train
    assert [*zip(data.names, data.labels.tolist(), strict=True)] == image_folder(str(root))
    assert data.class_names == ("Ape", "zebra")


@pytest.mark.parametrize(
    ("parts", "held"),
    [
        (("Training", "Testing"), None),
        (("TRAIN", "valid"), None),
        (("train", "Validation"), None),
        (("training", "test", "val"), "val"),
    ],
)
def test_parts_are_known_by_their_names_in_any_case(
    image_tree: Tree, tmp_path: Path, parts: tuple[str, ...], held: str | None
) -> None:
    counts = {f"{part}/{name}": 2 + place for place, part in enumerate(parts) for name in ("ill", "well")}
    splits = load(str(image_tree(counts)), tmp_path)
    assert splits.train.class_names == ("ill", "well")
    assert (len(splits.train), len(splits.test)) == (4, 6)
    assert (splits.holdout is not None) == (held is not None)
    assert splits.test.names[0] == f"{parts[1]}/ill/000.png"


def test_a_class_may_be_called_train(image_tree: Tree, tmp_path: Path) -> None:
    splits = load(str(image_tree({"bus": 4, "train": 4, "test": 4})), tmp_path, test_fraction=0.5)
    assert splits.train.class_names == ("bus", "test", "train")


@pytest.mark.parametrize(
    ("tree", "reason"),
    [
        ({"fold 1/a": 2, "fold 1/b": 2, "fold 2/a": 2, "fold 2/b": 2}, "holds folders .a, b. and no images of its own"),
        ({"train/a": 2, "train/b": 2, "Training/a": 2, "Training/b": 2}, "are the same part"),
        ({"train/a": 2, "train/b": 2, "test/a": 2, "test/b": 2}, "has a test part of its own; leave --test-fraction"),
        ({"train/a": 2, "train/b": 2, "test/c": 2}, "has the class 'c'"),
        ({"a": 2, "b": 2, ".ipynb_checkpoints": 1}, "is a hidden folder and would be a class"),
    ],
)
def test_folders_that_are_not_clear(image_tree: Tree, tmp_path: Path, tree: dict[str, int], reason: str) -> None:
    fraction = None if "test/c" in tree else 0.5
    with pytest.raises(DataError, match=reason):
        load(str(image_tree(tree)), tmp_path, test_fraction=fraction)


def test_classes_in_the_order_that_is_given(image_tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = str(image_tree({str(number): number + 1 for number in range(12)}))
    spoken: list[str] = []
    monkeypatch.setattr(catalogue, "say", spoken.append)

    def counts(**options: object) -> list[int]:
        return load(root, tmp_path, test=root, **options).train.labels.bincount().tolist()  # type: ignore[arg-type]

    assert counts() == [1, 2, 11, 12, *range(3, 11)]
    assert spoken[0].startswith("tree: 78 training and 78 test samples")
    assert spoken[1].strip().startswith("0 (1), 1 (2), 10 (11), 11 (12), 2 (3)")
    assert counts(class_order="string") == counts()
    assert counts(class_order="natural") == [*range(1, 13)]
    names = tmp_path / "classes.txt"
    names.write_bytes("\r\n".join([*map(str, range(11, -1, -1)), "12", ""]).encode("utf-8-sig"))
    assert counts(classes=read_class_names(names)) == [*range(12, 0, -1)]
    with pytest.raises(DataError, match="has the class '10', which is not among the 2 classes"):
        counts(classes=("0", "1"))
    albums = str(image_tree({f"{name}/{album}": 2 for name in ("cat", "dog") for album in ("2019", "2020")}))
    pets = load(albums, tmp_path, classes=("dog", "cat", *map(str, range(12))), test_fraction=0.5)
    assert pets.train.class_names[:2] == ("dog", "cat")


@pytest.mark.parametrize("content", ["a\n\nb", "a\nb\na", "a", ""])
def test_lists_of_classes_that_are_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "classes.txt").write_text(content)
    with pytest.raises(DataError, match=r"one class name on each line|one a line"):
        read_class_names(tmp_path / "classes.txt")


def test_orders_that_may_be_meant() -> None:
    numbers = [str(number) for number in range(12)]
    assert [*natural(sorted(numbers))] == numbers
    assert is_doubtful(sorted(numbers))
    assert is_doubtful(["s1", "s10", "s2"])
    assert not is_doubtful(numbers)
    assert not is_doubtful(sorted(["001.Albatross", "002.Auklet", "010.Wren"]))
    assert not is_doubtful(["dog1", "cat10", "cat2"])
    assert not is_doubtful(["cat", "dog"])


def test_labels_that_count_from_one(tmp_path: Path) -> None:
    images, labels = np.zeros((12, 8, 8), np.uint8), np.arange(12) % 3 + 1
    path = tmp_path / "d.npz"
    np.savez(path, x_train=images, y_train=labels, x_test=images, y_test=labels)
    with pytest.raises(DataError, match=r"from 1 to 3 and none is 0.*3 names if they count from 1, 4 if"):
        load(str(path), tmp_path)
    shifted = load(str(path), tmp_path, classes=("a", "b", "c"))
    assert shifted.train.labels.tolist() == shifted.test.labels.tolist() == (labels - 1).tolist()
    assert load(str(path), tmp_path, classes=("none", "a", "b", "c")).train.labels.tolist() == labels.tolist()
    with pytest.raises(DataError, match="run from 1 to 3, but there are 2 names"):
        load(str(path), tmp_path, classes=("a", "b"))


def test_named_data_needs_no_flags(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="order of classes of its own; leave"):
        load("digits", tmp_path, test_fraction=0.2)


def test_test_data_from_elsewhere(image_tree: Tree, tmp_path: Path) -> None:
    root = image_tree({"a": 3, "b": 3})
    write_image(tmp_path / "others" / "b" / "000.png", seed=99)
    write_image(tmp_path / "others" / "b" / "001.png", seed=98)
    splits = load(str(root), tmp_path, test=str(tmp_path / "others"))
    assert (len(splits.train), splits.test.labels.tolist()) == (6, [1, 1])
    assert [*splits.test.names] == ["others/b/000.png", "others/b/001.png"]
    assert splits.own is not None
    image, label = splits.own.test[1]
    assert (image.mode, label) == ("RGB", 1)
    assert np.array_equal(np.asarray(image).transpose(2, 0, 1), np.asarray(splits.test.images[1]))
    np.savez(tmp_path / "d.npz", images=np.zeros((4, 8, 8), np.uint8), labels=np.arange(4) % 2)
    with pytest.raises(DataError, match=r"d\.npz is no folder of images"):
        load(str(root), tmp_path, test=str(tmp_path / "d.npz"))
    arrays = load(str(tmp_path / "d.npz"), tmp_path, test=str(tmp_path / "d.npz"))
    assert (len(arrays.train), len(arrays.test)) == (4, 4)
