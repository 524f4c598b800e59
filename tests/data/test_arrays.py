"""Data kept as .npz and .npy files."""

from __future__ import annotations

import pickle
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from natmu.data import load
from natmu.errors import DataError

IMAGES = np.random.default_rng(0).integers(0, 256, (20, 3, 6, 5), dtype=np.uint8)
LABELS = np.arange(20) % 4


@pytest.mark.parametrize(
    "keys",
    [
        ("x_train", "y_train", "x_test", "y_test"),
        ("train_images", "train_labels", "test_images", "test_labels"),
        ("X_train", "Y_train", "X_test", "Y_test"),
        ("train_data", "train_label", "val_data", "val_label"),
        ("images_train", "targets_train", "images_val", "targets_val"),
    ],
)
@pytest.mark.parametrize("as_folder", [False, True])
def test_pairs_are_found_by_name(tmp_path: Path, keys: tuple[str, ...], as_folder: bool) -> None:
    values = dict(zip(keys, (IMAGES, LABELS, IMAGES[:8], LABELS[:8, None]), strict=True))
    source = tmp_path / ("data" if as_folder else "data.npz")
    if as_folder:
        source.mkdir()
        for key, value in values.items():
            np.save(source / f"{key}.npy", value)
    else:
        np.savez(source, **values)
    splits = load(str(source), tmp_path)
    assert splits.name == "data"
    assert np.array_equal(splits.train.take(torch.arange(20)).numpy(), IMAGES)
    assert splits.train.labels.tolist() == LABELS.tolist()
    assert splits.test.labels.tolist() == LABELS[:8].tolist()
    assert splits.train.class_names == ("0", "1", "2", "3")
    assert splits.mean == pytest.approx((IMAGES / 255).mean(axis=(0, 2, 3)))
    assert isinstance(splits.train.images, np.memmap) == as_folder


@pytest.mark.parametrize("as_folder", [False, True])
def test_a_single_pair_is_divided(tmp_path: Path, as_folder: bool) -> None:
    if as_folder:
        np.save(tmp_path / "images.npy", IMAGES)
        np.save(tmp_path / "labels.npy", LABELS)
    else:
        np.savez(tmp_path / "d.npz", images=IMAGES, labels=LABELS)
    source = str(tmp_path if as_folder else tmp_path / "d.npz")
    with pytest.raises(DataError, match="no test part"):
        load(source, tmp_path)
    splits = load(source, tmp_path, test_fraction=0.2)
    assert sorted(splits.test.labels.tolist()) == [0, 1, 2, 3]
    assert len(splits.train) == 16


def test_validation_beside_a_test_set_is_the_holdout(tmp_path: Path) -> None:
    pairs = {
        "train": slice(0, 10),
        "val": slice(10, 14),
        "test": slice(14, 20),
    }
    arrays = {f"{split}_images": IMAGES[rows] for split, rows in pairs.items()}
    arrays |= {f"{split}_labels": LABELS[rows] for split, rows in pairs.items()}
    np.savez(tmp_path / "d.npz", **arrays)
    for wanted in (False, True):
        splits = load(str(tmp_path / "d.npz"), tmp_path, holdout=wanted)
        assert splits.holdout is not None
        assert (len(splits.train), len(splits.test), len(splits.holdout)) == (10, 6, 4)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC", "NHW"])
def test_mapped_arrays_stay_mapped_in_every_layout(tmp_path: Path, layout: str) -> None:
    images = {"NCHW": IMAGES, "NHWC": IMAGES.transpose(0, 2, 3, 1).copy(), "NHW": IMAGES[:, 0].copy()}[layout]
    for split in ("train", "test"):
        np.save(tmp_path / f"{split}_images.npy", images)
        np.save(tmp_path / f"{split}_labels.npy", LABELS)
    data = load(str(tmp_path), tmp_path).train
    assert isinstance(data.images, np.memmap)
    assert not data.images.flags.writeable
    assert not data.resident
    expected = IMAGES[:, :1] if layout == "NHW" else IMAGES
    assert np.array_equal(data.take(torch.tensor([3, 1])).numpy(), expected[[3, 1]])


@pytest.mark.parametrize("as_folder", [False, True])
def test_floats_stay_what_they_are(tmp_path: Path, as_folder: bool) -> None:
    floats = (IMAGES.astype(np.float32) / 255 - 0.4) / 0.3
    arrays = {"x_train": floats, "y_train": LABELS, "x_test": np.round(floats[:8]), "y_test": LABELS[:8]}
    np.savez(tmp_path / "d.npz", **arrays)
    for name, array in arrays.items():
        np.save(tmp_path / f"{name}.npy", array)
    splits = load(str(tmp_path if as_folder else tmp_path / "d.npz"), tmp_path)
    assert isinstance(splits.train.images, np.memmap) == as_folder
    assert splits.train.images.dtype == splits.test.images.dtype  # so that they can be put together
    assert np.array_equal(splits.train.take(torch.arange(20)).numpy(), floats)
    assert np.array_equal(splits.test.take(torch.arange(8)).numpy(), arrays["x_test"])
    assert splits.mean == pytest.approx(floats.mean(axis=(0, 2, 3), dtype=np.float64), abs=1e-9)
    low, high = splits.train.bounds
    assert low.tolist() == floats.min(axis=(0, 2, 3)).tolist()
    assert high.tolist() == floats.max(axis=(0, 2, 3)).tolist()
    part = splits.train.subset([4, 2])
    assert np.array_equal(pickle.loads(pickle.dumps(part)).take(torch.arange(2)).numpy(), floats[[4, 2]])


def test_floats_that_are_bytes_divided_are_kept_as_bytes(tmp_path: Path) -> None:
    floats = IMAGES.astype(np.float32) / 255
    np.savez(tmp_path / "d.npz", x_train=floats, y_train=LABELS, x_test=floats, y_test=LABELS)
    assert np.array_equal(load(str(tmp_path / "d.npz"), tmp_path).train.take(torch.arange(20)).numpy(), IMAGES)


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"images": np.where(np.arange(20)[:, None, None, None] == 3, np.nan, IMAGES), "labels": LABELS}, "sample 3"),
        ({"images": IMAGES.astype(np.uint16), "labels": LABELS}, "images must be uint8 or floats, not uint16"),
        (
            {"x_train": IMAGES, "y_train": LABELS, "x_test": IMAGES / 100, "y_test": LABELS},
            r"One part .* holds bytes.* and another floats outside \[0, 1\]",
        ),
        ({"images": IMAGES, "labels": LABELS[:3]}, "one integer for each"),
        ({"images": IMAGES, "labels": LABELS - 1}, "number the classes"),
        ({"images": IMAGES, "labels": LABELS.astype(float)}, "one integer for each"),
        ({"images": IMAGES}, "it holds 'images'"),
        ({"x_train": IMAGES, "y_train": LABELS}, "no test part"),
        ({"x_test": IMAGES, "y_test": LABELS}, "must hold"),
        ({"a": IMAGES, "b": LABELS}, "it holds 'a', 'b'"),
        ({}, "nothing"),
        ({"images": IMAGES, "labels": np.array([object] * 20)}, "labels cannot be read"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, arrays: dict[str, np.ndarray], reason: str) -> None:
    np.savez(tmp_path / "d.npz", **arrays)
    with pytest.raises(DataError, match=reason):
        load(str(tmp_path / "d.npz"), tmp_path)


def test_training_and_test_images_of_different_shape_are_refused(tmp_path: Path) -> None:
    arrays = {"x_train": IMAGES, "y_train": LABELS, "x_test": IMAGES[:, :, :4], "y_test": LABELS}
    np.savez(tmp_path / "d.npz", **arrays)
    with pytest.raises(DataError, match="--image-size"):
        load(str(tmp_path / "d.npz"), tmp_path)
    assert load(str(tmp_path / "d.npz"), tmp_path, image_size=4).test.image_shape == (3, 4, 4)


def test_one_array_under_the_wrong_name_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "d.npz").open("wb") as file:
        np.save(file, IMAGES)
    with pytest.raises(DataError, match="one array"):
        load(str(tmp_path / "d.npz"), tmp_path)


def test_names_that_differ_by_capitals_alone_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x_train=IMAGES, X_train=IMAGES[::-1], y_train=np.zeros(len(IMAGES), np.int64))
    with pytest.raises(DataError, match="holds 'X_train', 'x_train', which differ only in capital letters"):
        load(str(tmp_path / "d.npz"), tmp_path)


def test_pickled_objects_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", IMAGES)
    np.save(tmp_path / "labels.npy", np.array([object] * 20), allow_pickle=True)
    with pytest.raises(DataError, match=r"labels\.npy"):
        load(str(tmp_path), tmp_path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(data=st.data(), as_npz=st.booleans())
def test_damaged_files_never_raise_anything_else(tmp_path: Path, data: st.DataObject, as_npz: bool) -> None:
    np.save(tmp_path / "images.npy", IMAGES[:2])
    np.save(tmp_path / "labels.npy", LABELS[:2])
    path = tmp_path / ("d.npz" if as_npz else "images.npy")
    if as_npz:
        np.savez(path, images=IMAGES[:2], labels=LABELS[:2])
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, min(len(content), 200) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    with suppress(DataError):
        load(str(path if as_npz else tmp_path), tmp_path)


def test_an_encrypted_or_strange_zip_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "d.npz", "w") as zipped:
        zipped.writestr("images.npy", b"not an array")
        zipped.writestr("labels.txt", b"1")
    with pytest.raises(DataError):
        load(str(tmp_path / "d.npz"), tmp_path)


@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
def test_bytes_after_an_array_of_an_archive_are_refused(tmp_path: Path, version: tuple[int, int]) -> None:
    arrays = {"x_train": IMAGES, "x_test": IMAGES, "y_train": LABELS, "y_test": LABELS}
    for beyond in (b"", b"12345"):
        with zipfile.ZipFile(tmp_path / "d.npz", "w") as zipped:
            for name, array in arrays.items():
                with zipped.open(f"{name}.npy", "w") as member:
                    np.lib.format.write_array(member, array, version)
                    member.write(beyond if name == "y_test" else b"")
        if not beyond:
            load(str(tmp_path / "d.npz"), tmp_path)
    with pytest.raises(DataError, match=r"y_test holds 5 more bytes than its array of shape \(20,\)"):
        load(str(tmp_path / "d.npz"), tmp_path)
