"""Subsets, holdouts, sizes, and what cannot be loaded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from natmu.data import load
from natmu.errors import DataError


def test_train_size_keeps_a_fixed_balanced_subset(tmp_path: Path) -> None:
    whole, subset = load("digits", tmp_path), load("digits", tmp_path, train_size=200)
    assert len(subset.train) == 200
    share = subset.train.labels.bincount() - whole.train.labels.bincount() * 200 / 1438
    assert share.abs().max() < 1
    assert subset.test.digest == whole.test.digest
    assert load("digits", tmp_path, train_size=200).train.digest == subset.train.digest
    assert load("digits", tmp_path, train_size=1438).train.digest == whole.train.digest


def test_holdout_is_taken_out_of_the_test_set(tmp_path: Path) -> None:
    whole, divided = load("digits", tmp_path), load("digits", tmp_path, holdout=True)
    assert whole.holdout is None
    assert divided.holdout is not None
    assert (len(divided.test), len(divided.holdout)) == (287, 72)
    together = torch.cat([part.take(torch.arange(len(part))) for part in (divided.test, divided.holdout)])
    everything = whole.test.take(torch.arange(359))
    assert torch.equal(together.flatten(1).unique(dim=0), everything.flatten(1).unique(dim=0))
    assert divided.holdout.labels.bincount(minlength=10).min() >= 6


@pytest.mark.parametrize("image_size", [None, 5])
def test_parts_of_mapped_data_stay_mapped_and_are_those_of_data_in_memory(
    tmp_path: Path, image_size: int | None
) -> None:
    rng = np.random.default_rng(0)
    arrays = {
        "train_images": rng.integers(0, 256, (60, 3, 9, 7), dtype=np.uint8),
        "train_labels": np.arange(60) % 3,
        "test_images": rng.integers(0, 256, (30, 3, 9, 7), dtype=np.uint8),
        "test_labels": np.arange(30) % 3,
    }
    (tmp_path / "folder").mkdir()
    for name, array in arrays.items():
        np.save(tmp_path / "folder" / f"{name}.npy", array)
    np.savez(tmp_path / "file.npz", **arrays)
    options = {"train_size": 20, "holdout": True, "image_size": image_size}
    lazy, resident = (load(str(tmp_path / name), tmp_path, **options) for name in ("folder", "file.npz"))
    assert (lazy.mean, lazy.std) == (resident.mean, resident.std)
    for part in ("train", "test", "holdout"):
        assert getattr(lazy, part).resident == (image_size is not None)
        assert getattr(lazy, part).digest == getattr(resident, part).digest


def test_image_size_applies_to_every_source_and_part(tmp_path: Path) -> None:
    splits = load("digits", tmp_path, image_size=12, holdout=True)
    assert splits.holdout is not None
    assert {part.image_shape for part in (splits.train, splits.test, splits.holdout)} == {(1, 12, 12)}


@pytest.mark.parametrize("options", [{"train_size": 0}, {"train_size": 1439}, {"image_size": 0}, {"image_size": 9999}])
def test_sizes_out_of_range_are_refused(tmp_path: Path, options: dict[str, int]) -> None:
    with pytest.raises(DataError, match="must be from 1 to"):
        load("digits", tmp_path, **options)


@pytest.mark.parametrize("source", ["cifar11", "", "nowhere/at/all", "\0", "x" * 5000])
def test_unknown_sources_are_refused(tmp_path: Path, source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError):
        load(source, tmp_path)


def test_a_misspelt_name_is_corrected(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="did you mean cifar10"):
        load("cifar-10", tmp_path)


def test_files_of_other_kinds_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "images.npy"
    np.save(path, np.zeros((2, 2, 2), np.uint8))
    with pytest.raises(DataError, match="not data that natmu can read"):
        load(str(path), tmp_path)
