"""The data sets that are known by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from natmu.data import load, sources
from natmu.errors import DataError

from .fakes import (
    COARSE_NAMES,
    FINE_NAMES,
    pixels,
    write_cifar10,
    write_cifar100,
    write_pickle,
    write_tiny_imagenet,
)


def test_digits_are_scikit_learns() -> None:
    splits = load("digits", Path("nowhere"))
    info = sources()[0]
    assert (info.name, info.downloadable) == ("digits", False)
    assert (len(splits.train), len(splits.test)) == (info.train, info.test) == (1438, 359)
    assert splits.train.image_shape == splits.test.image_shape == info.shape
    assert splits.train.num_classes == info.classes
    everything = torch.cat([splits.train.take(torch.arange(1438)), splits.test.take(torch.arange(359))])
    values = everything.unique().tolist()
    assert values == [round(step * 255 / 16) for step in range(17)]
    assert len(everything.flatten(1).unique(dim=0)) == 1797
    assert splits.train.labels.bincount().float().std() < 4
    assert load("digits", Path("nowhere")).train.digest == splits.train.digest


@pytest.mark.parametrize("folder", ["cifar-10-batches-py", "cifar10", "."])
@pytest.mark.parametrize("as_bytes", [False, True])
@pytest.mark.parametrize("protocol", [2, 4])
def test_cifar10(tmp_path: Path, folder: str, as_bytes: bool, protocol: int) -> None:
    write_cifar10(tmp_path / folder, as_bytes=as_bytes, protocol=protocol)
    splits = load("cifar10", tmp_path)
    assert (len(splits.train), len(splits.test)) == (20, 4)
    assert np.array_equal(splits.train.take(torch.arange(4, 8)).numpy().reshape(4, 3072), pixels(4, seed=2))
    assert splits.train.labels[:6].tolist() == [1, 2, 3, 4, 2, 3]
    assert splits.train.class_names[0] == "airplane"
    assert splits.mean == (0.4914, 0.4822, 0.4465)
    assert splits.std == (0.2470, 0.2435, 0.2616)


@pytest.mark.parametrize("folder", ["cifar-100-python", "cifar100", "."])
@pytest.mark.parametrize("as_bytes", [False, True])
def test_cifar100_and_cifar20(tmp_path: Path, folder: str, as_bytes: bool) -> None:
    write_cifar100(tmp_path / folder, as_bytes=as_bytes)
    fine, coarse = load("cifar100", tmp_path), load("cifar20", tmp_path)
    assert fine.train.class_names == FINE_NAMES
    assert coarse.train.class_names == COARSE_NAMES
    assert fine.train.coarse is not None
    assert coarse.train.fine is not None
    assert fine.train.labels.tolist() == coarse.train.fine.labels.tolist() == [0, 1, 2, 3] * 3
    assert coarse.train.labels.tolist() == fine.train.coarse.labels.tolist() == [0, 1, 0, 1] * 3
    assert fine.train.fine is None
    assert coarse.train.coarse is None
    assert fine.mean == coarse.mean == (0.5071, 0.4865, 0.4409)
    subset = load("cifar100", tmp_path, train_size=4).train
    assert sorted(subset.labels.tolist()) == [0, 1, 2, 3]
    assert subset.coarse is not None


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "cifar20", "tiny-imagenet"])
def test_missing_data_says_where_it_was_looked_for_and_how_to_get_it(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError) as error:
        load(name, tmp_path)
    message = str(error.value)
    assert f"`natmu data download {name} --data-dir {tmp_path}`" in message
    assert str(tmp_path) in message
    assert {"cifar10": "data_batch_3", "tiny-imagenet": "wnids.txt"}.get(name, "meta") in message


def test_an_incomplete_folder_is_missing_data(tmp_path: Path) -> None:
    write_cifar10(tmp_path)
    (tmp_path / "data_batch_3").unlink()
    with pytest.raises(DataError, match="not found"):
        load("cifar10", tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"data": [1], "labels": [1]},
        {"data": np.zeros((2, 10), np.uint8), "labels": [1, 1]},
        {"data": np.zeros((2, 3072), np.int64), "labels": [1, 1]},
        {"data": np.zeros((2, 3072), np.uint8), "labels": ["a", "b"]},
        {"data": np.zeros((2, 3072), np.uint8), "labels": [1, 10]},
        {"data": np.zeros((2, 3072), np.uint8), "labels": [1, -1]},
        {"data": np.zeros((2, 3072), np.uint8), "labels": [1, 2**70]},
        {"data": np.zeros((2, 3072), np.uint8), "labels": [1]},
        {"data": np.zeros((2, 3072), np.uint8)},
    ],
)
def test_damaged_batches_are_refused(tmp_path: Path, content: dict[str, object]) -> None:
    write_cifar10(tmp_path)
    write_pickle(tmp_path / "data_batch_2", content)
    with pytest.raises(DataError):
        load("cifar10", tmp_path)


def test_a_damaged_meta_file_is_refused(tmp_path: Path) -> None:
    write_cifar100(tmp_path)
    write_pickle(tmp_path / "meta", {"fine_label_names": [1]})
    with pytest.raises(DataError, match="meta"):
        load("cifar100", tmp_path)


@pytest.mark.parametrize("folder", ["tiny-imagenet-200", "."])
def test_tiny_imagenet_as_the_archive_has_it(tmp_path: Path, folder: str) -> None:
    place = tmp_path / folder
    write_tiny_imagenet(place)
    splits = load("tiny-imagenet", tmp_path)
    assert splits.train.class_names == ("Egyptian cat", "n02")
    assert splits.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert splits.test.labels.tolist() == [1, 0, 1, 0]
    assert splits.train.image_shape == (3, 64, 64)
    with Image.open(place / "train" / "n01" / "images" / "n01_0.JPEG") as image:
        expected = np.asarray(image.convert("RGB")).transpose(2, 0, 1)
    assert np.array_equal(splits.train.take(torch.tensor([0]))[0].numpy(), expected)
    assert splits.mean == (0.4802, 0.4481, 0.3975)


def test_tiny_imagenet_is_decoded_anew_when_an_image_changes(tmp_path: Path) -> None:
    write_tiny_imagenet(tmp_path)
    before = load("tiny-imagenet", tmp_path).test.digest
    Image.new("RGB", (64, 64)).save(tmp_path / "val" / "images" / "val_2.JPEG")
    assert load("tiny-imagenet", tmp_path).test.digest != before


def test_tiny_imagenet_at_another_size(tmp_path: Path) -> None:
    write_tiny_imagenet(tmp_path)
    assert load("tiny-imagenet", tmp_path, image_size=32).test.image_shape == (3, 32, 32)
    grey = load("tiny-imagenet", tmp_path, resize=40, crop=30, channels=1)
    assert grey.test.image_shape == (1, 30, 30)
    assert len(grey.mean) == 1  # the customary statistics are those of three channels


def test_a_damaged_image_of_tiny_imagenet_is_named(tmp_path: Path) -> None:
    write_tiny_imagenet(tmp_path)
    (tmp_path / "train" / "n02" / "images" / "n02_1.JPEG").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"n02_1\.JPEG"):
        load("tiny-imagenet", tmp_path)


def test_classes_that_share_a_term_are_told_apart(tmp_path: Path) -> None:
    write_tiny_imagenet(tmp_path)
    (tmp_path / "words.txt").write_text("n01\tcrane, bird\nn02\tcrane\n")
    assert load("tiny-imagenet", tmp_path).train.class_names == ("crane (n01)", "crane (n02)")


@pytest.mark.parametrize("line", ["val_0.JPEG\tn99\t0", "val_0.JPEG", "../../x.JPEG\tn01"])
def test_damaged_annotations_are_refused(tmp_path: Path, line: str) -> None:
    write_tiny_imagenet(tmp_path)
    (tmp_path / "val" / "val_annotations.txt").write_text(line)
    with pytest.raises(DataError, match=r"val_annotations\.txt"):
        load("tiny-imagenet", tmp_path)


def test_tiny_imagenet_as_four_arrays(tmp_path: Path) -> None:
    folder = tmp_path / "tiny-imagenet-200"
    folder.mkdir()
    images = np.random.default_rng(0).integers(0, 256, (6, 3, 64, 64), dtype=np.uint8)
    np.save(folder / "train_data.npy", images)
    np.save(folder / "train_label.npy", np.arange(6) % 3)
    np.save(folder / "val_data.npy", images[:3])
    np.save(folder / "val_label.npy", np.arange(3))
    splits = load("tiny-imagenet", tmp_path)
    assert isinstance(splits.train.images, np.memmap)
    assert np.array_equal(splits.train.take(torch.arange(6)).numpy(), images)
    assert splits.train.class_names == ("0", "1", "2")
    assert splits.std == (0.2764, 0.2689, 0.2816)
