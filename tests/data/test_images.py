"""Images that are mapped from a file: subsets without copies, and pickles without pixels."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ProcessPoolExecutor
from operator import attrgetter
from pathlib import Path

import numpy as np
import pytest
import torch

import warm
from natmu.data import ImageData, Labelling
from natmu.data.mapped import MappedImages
from natmu.errors import DataError

STORED = np.random.default_rng(0).integers(0, 256, (40, 12, 10, 3), dtype=np.uint8)
VIEWS = {
    "as stored": lambda stored: stored,
    "channels last": lambda stored: stored.transpose(0, 3, 1, 2),
    "grey": lambda stored: stored[:, :, :, 0][:, None],
    "cut": lambda stored: stored[5:, 2:],
    "backwards": lambda stored: stored[::-2, :, ::-1],
}


def of(images: torch.Tensor | np.ndarray | MappedImages) -> ImageData:
    labels = torch.arange(len(images)) % 4
    names = tuple("abcd")
    fine = Labelling(labels * 2, tuple("abcdefgh"))
    return ImageData(images, labels, names, fine, Labelling(labels // 2, ("x", "y")))


def stored(folder: Path) -> np.ndarray:
    np.save(folder / "images.npy", STORED)
    return np.load(folder / "images.npy", mmap_mode="r")


def mapped(folder: Path, view: str = "as stored") -> ImageData:
    return of(VIEWS[view](stored(folder)))


def pixels(data: ImageData) -> np.ndarray:
    return data.take(torch.arange(len(data))).numpy()


def sent(data: ImageData) -> ImageData:
    received = pickle.loads(pickle.dumps(data))
    assert isinstance(received, ImageData)
    return received


@pytest.mark.parametrize("view", VIEWS)
def test_a_subset_of_mapped_images_is_that_of_a_tensor(tmp_path: Path, view: str) -> None:
    lazy, resident = mapped(tmp_path, view), of(torch.from_numpy(VIEWS[view](STORED).copy()))
    rows = [3, 11, 3, 0, len(lazy) - 1]
    one, other = lazy.subset(rows), resident.subset(np.array(rows))
    assert isinstance(one.images, MappedImages)
    assert not one.resident
    assert one.images.dtype == np.uint8
    assert one.images.shape == tuple(other.images.shape)
    assert one.image_shape == lazy.image_shape
    assert np.array_equal(pixels(one), pixels(other))
    assert np.array_equal(one.images[2], other.images[2])
    assert np.array_equal(one.images[1:4], other.images[1:4])
    assert one.digest == other.digest
    assert one.fine is not None
    assert one.fine.labels.tolist() == (other.labels * 2).tolist()
    assert one.to(torch.device("cpu")) is one


def test_a_subset_of_a_subset_counts_within_it(tmp_path: Path) -> None:
    data = mapped(tmp_path)
    twice = data.subset([9, 4, 30, 7]).subset([2, 0])
    assert isinstance(twice.images, MappedImages)
    assert np.array_equal(pixels(twice), STORED[[30, 9]])
    assert twice.labels.tolist() == data.labels[[30, 9]].tolist()
    assert twice.digest == of(torch.from_numpy(STORED)).subset([30, 9]).digest


def test_a_subset_may_be_empty_and_stays_within_the_data(tmp_path: Path) -> None:
    data = mapped(tmp_path)
    assert pixels(data.subset([])).shape == (0, 12, 10, 3)
    with pytest.raises(IndexError):
        data.subset([40])


def test_an_array_that_is_not_mapped_is_copied(tmp_path: Path) -> None:
    assert of(STORED).subset([1, 2]).resident
    for in_memory in (stored(tmp_path)[[4, 5]], stored(tmp_path)[4:6].copy()):
        assert of(in_memory).subset([1]).resident
        assert np.array_equal(pixels(sent(of(in_memory))), STORED[[4, 5]])


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("chosen", [None, [1, 17, 2]])
def test_mapped_images_are_pickled_without_their_pixels(tmp_path: Path, view: str, chosen: list[int] | None) -> None:
    whole = mapped(tmp_path, view)
    data = whole if chosen is None else whole.subset(chosen)
    large = ImageData(data.images, data.labels * 0, ("a",))
    assert len(pickle.dumps(large)) < 2000 + data.labels.nbytes < STORED.nbytes / 4
    for received in (sent(data), sent(sent(data)), copy.copy(data), copy.deepcopy(data)):
        assert not received.resident
        assert np.array_equal(pixels(received), pixels(data))
        assert received.digest == data.digest
        assert received.class_names == data.class_names
        assert np.array_equal(pixels(received.subset([2, 0])), pixels(data)[[2, 0]])


def test_images_that_were_sent_cannot_be_written(tmp_path: Path) -> None:
    received = sent(mapped(tmp_path)).images
    assert isinstance(received, MappedImages)
    with pytest.raises(ValueError, match="read-only"):
        received[0][...] = 0


def test_another_process_reads_the_same_pixels(tmp_path: Path) -> None:
    whole = mapped(tmp_path, "channels last")
    parts = [whole, whole.subset([8, 3, 21]), whole.subset([8, 3, 21]).subset([2, 2]), of(torch.from_numpy(STORED))]
    with ProcessPoolExecutor(1, warm.context()) as process:
        found = list(process.map(attrgetter("digest"), parts))
    assert found == [part.digest for part in parts]


def test_a_digest_once_computed_travels_with_the_data(tmp_path: Path) -> None:
    data = mapped(tmp_path)
    known = data.digest
    assert vars(sent(data))["digest"] == known


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(path.read_bytes()[:-1])])
def test_a_file_that_is_gone_or_cut_short_is_a_data_error(tmp_path: Path, damage) -> None:
    data = mapped(tmp_path)
    pickled = pickle.dumps(data), pickle.dumps(data.subset([0]))
    damage(tmp_path / "images.npy")
    for one in pickled:
        with pytest.raises(DataError, match=r"images\.npy cannot be read by another process"):
            pickle.loads(one)


def test_resident_images_are_pickled_with_their_pixels() -> None:
    data = of(torch.from_numpy(STORED))
    received = sent(data)
    assert received.resident
    assert received.digest == data.digest
