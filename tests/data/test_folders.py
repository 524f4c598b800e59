"""Folders of images per class."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from natmu.data import decoding, load
from natmu.data.mapped import MappedImages
from natmu.errors import DataError

from .fakes import write_image

Tree = Callable[[Mapping[str, int]], Path]


@pytest.mark.parametrize("held", ["test", "val"])
def test_training_and_test_folders(image_tree: Tree, tmp_path: Path, held: str) -> None:
    root = image_tree({"train/dog": 3, "train/cat": 2, f"{held}/cat": 1, f"{held}/dog": 2})
    splits = load(str(root), tmp_path)
    assert splits.name == "tree"
    assert splits.train.class_names == ("cat", "dog")
    assert splits.train.labels.tolist() == [0, 0, 1, 1, 1]
    assert splits.test.labels.tolist() == [0, 1, 1]
    with Image.open(root / "train" / "dog" / "001.png") as image:
        expected = np.asarray(image).transpose(2, 0, 1)
    assert np.array_equal(splits.train.take(torch.tensor([3]))[0].numpy(), expected)


def test_validation_beside_a_test_folder_is_the_holdout(image_tree: Tree, tmp_path: Path) -> None:
    folders = {"train/a": 2, "train/b": 2, "val/a": 1, "val/b": 3, "test/a": 1, "test/b": 1}
    splits = load(str(image_tree(folders)), tmp_path)
    assert splits.holdout is not None
    assert (len(splits.test), len(splits.holdout)) == (2, 4)


def test_a_flat_folder_is_divided_where_that_is_asked_for(image_tree: Tree, tmp_path: Path) -> None:
    root = image_tree({"a": 10, "b": 5, "c": 15})
    with pytest.raises(DataError, match=r"no test part.*--test-data PATH.*--test-fraction 20%"):
        load(str(root), tmp_path)
    splits = load(str(root), tmp_path, test_fraction=0.2)
    assert splits.train.labels.bincount().tolist() == [8, 4, 12]
    assert splits.test.labels.bincount().tolist() == [2, 1, 3]
    assert load(str(root), tmp_path, test_fraction=0.2).test.digest == splits.test.digest


def test_grey_images_have_one_channel_and_mixed_ones_three(tmp_path: Path) -> None:
    for row in range(4):
        write_image(tmp_path / "tree" / "ab"[row % 2] / f"{row}.png", mode="L" if row else "LA", seed=row)
    assert load(str(tmp_path / "tree"), tmp_path, test_fraction=0.2).train.image_shape == (1, 8, 8)
    write_image(tmp_path / "tree" / "a" / "9.png", mode="RGBA")
    assert load(str(tmp_path / "tree"), tmp_path, test_fraction=0.2).train.image_shape == (3, 8, 8)


def test_differing_sizes_are_refused_by_name(image_tree: Tree, tmp_path: Path) -> None:
    root = image_tree({"a": 3, "b": 3})
    write_image(root / "b" / "odd.png", (9, 7))
    with pytest.raises(
        DataError, match=r"000\.png is 8x8, .*odd\.png is 9x7; pass --resize 256 --crop 224 .*--image-size"
    ):
        load(str(root), tmp_path, test_fraction=0.2)
    assert load(str(root), tmp_path, image_size=10, test_fraction=0.2).train.image_shape == (3, 10, 10)


def test_resizing_is_pillows_bilinear(image_tree: Tree, tmp_path: Path) -> None:
    root = image_tree({"train/a": 1, "train/b": 1, "test/a": 2})
    with Image.open(root / "train" / "a" / "000.png") as image:
        expected = np.asarray(image.resize((5, 5), Image.Resampling.BILINEAR)).transpose(2, 0, 1)
    splits = load(str(root), tmp_path, image_size=5)
    assert np.array_equal(splits.train.take(torch.tensor([0]))[0].numpy(), expected)


def test_a_corrupt_image_is_named(image_tree: Tree, tmp_path: Path) -> None:
    root = image_tree({"a": 5, "b": 5})
    path = root / "b" / "002.png"
    path.write_bytes(path.read_bytes()[:70])
    with pytest.raises(DataError, match=r"002\.png cannot be read as an image"):
        load(str(root), tmp_path, test_fraction=0.2)


def test_sixteen_bits_are_refused(image_tree: Tree, tmp_path: Path) -> None:
    root = image_tree({"a": 5, "b": 5})
    Image.fromarray(np.full((8, 8), 40_000, np.uint16)).save(root / "a" / "deep.png")
    with pytest.raises(DataError, match=r"deep\.png.*eight bits"):
        load(str(root), tmp_path, test_fraction=0.2)


def test_many_images_are_mapped(image_tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = image_tree({"train/a": 3, "train/b": 3, "test/a": 2})
    small = load(str(root), tmp_path)
    monkeypatch.setattr(decoding, "IN_MEMORY_BYTES", 1)
    large = load(str(root), tmp_path / "cache")
    assert small.train.resident
    assert isinstance(large.train.images, MappedImages)
    assert np.array_equal(large.train.images[:], np.asarray(small.train.images))
    assert (large.train.digest, large.mean, large.std) == (small.train.digest, small.mean, small.std)
    assert sorted(path.suffix for path in (tmp_path / "cache" / "decoded").glob("[!.]*")) == [".json", ".npy"]


def test_images_that_cannot_be_kept_stay_in_memory_if_they_fit(
    image_tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = image_tree({"a": 3, "b": 3})
    (tmp_path / "file").touch()
    monkeypatch.setattr(decoding, "IN_MEMORY_BYTES", 1)
    assert load(str(root), tmp_path / "file", test_fraction=0.2).train.resident
    monkeypatch.setattr(decoding, "_WITHOUT_CACHE_BYTES", 1)
    with pytest.raises(DataError, match="cannot be kept"):
        load(str(root), tmp_path / "file", test_fraction=0.2)


@pytest.mark.parametrize(
    ("tree", "reason"),
    [
        ({}, "no data set or path"),
        ({"a": 3}, "no test part"),
        ({"test": 3}, "no test part"),
        ({"train/a": 3, "train/b": 3}, "no test part"),
        ({"train/a": 3, "train/b": 3, "test/c": 3}, "the class 'c'"),
        ({"train/a": 3, "test/a": 3}, "two or more classes; found 1"),
    ],
)
def test_other_trees_are_refused(image_tree: Tree, tmp_path: Path, tree: dict[str, int], reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        load(str(image_tree(tree)), tmp_path)


def test_other_files_are_passed_over(image_tree: Tree, tmp_path: Path) -> None:
    root = image_tree({"a": 5, "b": 5})
    (root / "a" / "notes.txt").write_text("x")
    (root / "README").write_text("x")
    (root / "empty").mkdir()
    assert load(str(root), tmp_path, test_fraction=0.2).train.class_names == ("a", "b")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.tuples(st.integers(1, 33), st.integers(1, 33)), min_size=4, max_size=4),
    modes=st.lists(st.sampled_from(["L", "RGB", "RGBA", "LA"]), min_size=4, max_size=4),
    image_size=st.none() | st.integers(1, 40),
)
def test_images_of_odd_sizes(
    tmp_path: Path, sizes: list[tuple[int, int]], modes: list[str], image_size: int | None
) -> None:
    for row, (size, mode) in enumerate(zip(sizes, modes, strict=True)):
        write_image(tmp_path / "tree" / "ab"[row % 2] / f"{row}.png", size, mode, row)
    if image_size is None and len(set(sizes)) > 1:
        with pytest.raises(DataError, match="--image-size"):
            load(str(tmp_path / "tree"), tmp_path, test_fraction=0.2)
        return
    shape = load(str(tmp_path / "tree"), tmp_path, image_size=image_size, test_fraction=0.2).train.image_shape
    side = (image_size, image_size) if image_size else sizes[0][::-1]
    assert shape == (1 if set(modes) <= {"L", "LA"} else 3, *side)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100, deadline=None)
@given(data=st.data(), suffix=st.sampled_from(["png", "jpg", "bmp", "gif", "webp", "tif", "ppm"]))
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_damaged_images_never_raise_anything_else(tmp_path: Path, data: st.DataObject, suffix: str) -> None:
    root = tmp_path / suffix
    for name in ("a/1", "a/2", "b/3", "b/4"):
        write_image(root / f"{name}.{suffix}")
    path = root / f"a/1.{suffix}"
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    with suppress(DataError):
        load(str(root), tmp_path, image_size=8, test_fraction=0.2)


def test_an_image_above_pillow_s_size_of_suspicion_is_read_without_a_warning(
    image_tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pillow warns of images above 89 megapixels, and here of those above a lower limit; it refuses twice that size."""
    root = image_tree({"train/a": 1, "train/b": 1, "test/a": 1, "test/b": 1})
    with Image.open(root / "train" / "a" / "000.png") as image:
        pixels = image.width * image.height
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pixels - 1)
    assert len(load(str(root), tmp_path).train) == 2
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pixels // 2 - 1)
    with pytest.raises(DataError, match="cannot be read as an image"):
        load(str(root), tmp_path)
