"""Byte-identical copies of forget samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from natmu.data import ImageData, forget_from_indices, parse_forget, resolve_forget, with_copies
from natmu.data import twins as module
from natmu.data.mapped import MappedImages
from natmu.data.twins import copies_of, copies_told
from natmu.errors import ForgetSetError

COUNT = 40


def alike(forget: list[int], data: np.ndarray, part: np.ndarray) -> list[int]:
    """Every image compared with every forget image, byte by byte."""
    return [row for row in range(len(part)) if any(part[row].tobytes() == data[one].tobytes() for one in forget)]


@pytest.mark.parametrize("kind", ["tensor", "mapped", "rows of a file"])
@pytest.mark.parametrize("shape", [(1, 4, 4), (3, 5, 3)])
def test_copies_are_those_of_a_slow_comparison(
    tmp_path: Path, kind: str, shape: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BLOCK_BYTES", 200)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (COUNT, *shape), np.uint8)
    images[[7, 30, 31]] = images[[3, 3, 12]]
    images[20] = images[3]
    images[20, 0, 0, 0] ^= 1
    others = np.concatenate([images[[12, 5, 20]], rng.integers(0, 256, (3, *shape), np.uint8)])
    kept: torch.Tensor | np.ndarray | MappedImages = torch.from_numpy(images)
    if kind != "tensor":
        np.save(tmp_path / "images.npy", images)
        kept = np.load(tmp_path / "images.npy", mmap_mode="r")
        kept = kept if kind == "mapped" else MappedImages(kept, np.arange(COUNT))
    labels = torch.arange(COUNT) % 2
    train = ImageData(kept, labels, ("a", "b"))
    test = ImageData(torch.from_numpy(others), labels[:6], ("a", "b"))
    forget = forget_from_indices([3, 12, 15], train)
    found = copies_of(forget, train, test=test, holdout=None)
    expected = [row for row in alike([3, 12, 15], images, images) if row not in (3, 12, 15)]
    assert found["retain"].tolist() == expected == [7, 30, 31]
    assert found["test"].tolist() == alike([3, 12, 15], images, others) == [0]
    told = copies_told(found, train, test=test)
    assert told is not None
    assert "3 in the retain part (7, 30, 31), 1 in the test part (0)" in told
    assert with_copies(forget, train).indices.tolist() == [3, 7, 12, 15, 30, 31]
    assert resolve_forget(parse_forget("class:b"), train, seed=0, copies=False).classes == (1,)


def test_nothing_is_said_where_there_are_no_copies_and_classes_stay_whole() -> None:
    images = torch.arange(6, dtype=torch.uint8)[:, None, None, None].expand(6, 1, 2, 2).clone()
    data = ImageData(images, torch.arange(6) % 2, ("a", "b"))
    assert copies_told(copies_of(forget_from_indices([0], data), data), data) is None
    images[3] = images[2]
    assert resolve_forget(parse_forget("class:b"), data.subset([0, 1, 5]), seed=0, copies=True).indices.tolist() == [
        1,
        2,
    ]
    with pytest.raises(ForgetSetError, match="1 copies of samples of 'class:b' are in other classes, such as '2'"):
        resolve_forget(parse_forget("class:b"), data, seed=0, copies=True)
    before = forget_from_indices([2], data)
    after = forget_from_indices([3], data, before)
    assert copies_of(after, data) == {}
    floats = ImageData(images, data.labels, data.class_names)
    small = ImageData(images[:, :, :1], data.labels, data.class_names)
    assert list(copies_of(after, data, test=floats, holdout=small)) == ["test"]


def test_images_whose_sums_agree_by_chance_are_compared_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    def same(data: ImageData, rows: np.ndarray | None = None) -> np.ndarray:
        return np.zeros(len(data) if rows is None else len(rows), np.uint64)

    monkeypatch.setattr(module, "_codes", same)
    images = torch.arange(6, dtype=torch.uint8)[:, None, None, None].expand(6, 1, 2, 2).clone()
    images[4] = images[1]
    data = ImageData(images, torch.arange(6) % 2, ("a", "b"))
    assert copies_of(forget_from_indices([1, 2], data), data)["retain"].tolist() == [4]
