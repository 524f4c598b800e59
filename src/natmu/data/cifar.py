"""CIFAR-10, CIFAR-100 and CIFAR-20 (CIFAR-100 labelled by superclass), from the pickles of the official archives."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from natmu.data.images import ByteArray, ImageData, Labelling
from natmu.data.locate import find_folder
from natmu.data.pickles import read_cifar_pickle
from natmu.data.pixels import MAX_CLASSES, resident
from natmu.errors import DataError

CIFAR10_FILES = (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch")
CIFAR100_FILES = ("train", "test", "meta")
CIFAR10_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def load_cifar10(data_dir: Path) -> tuple[ImageData, ImageData]:
    """Training and test set of CIFAR-10, uint8 ``(N, 3, 32, 32)``.

    Args:
        data_dir: Holds ``cifar-10-batches-py`` or ``cifar10``, or is such a folder itself.

    Raises:
        DataError: Files are missing or damaged.
    """
    folder = find_folder("cifar10", data_dir, ("cifar-10-batches-py", "cifar10"), CIFAR10_FILES)
    train, test = _read10(folder, CIFAR10_FILES[:-1]), _read10(folder, CIFAR10_FILES[-1:])
    return train, test


def _read10(folder: Path, files: Sequence[str]) -> ImageData:
    batches = [(folder / name, read_cifar_pickle(folder / name)) for name in files]
    images = np.concatenate([_images(path, batch) for path, batch in batches])
    labels = torch.cat([_labels(path, batch, "labels") for path, batch in batches])
    return ImageData(resident(images), labels, CIFAR10_NAMES)


def load_cifar100(data_dir: Path, classes: Literal["fine", "coarse"] = "fine") -> tuple[ImageData, ImageData]:
    """Training and test set of CIFAR-100, uint8 ``(N, 3, 32, 32)``.

    Args:
        data_dir: Holds ``cifar-100-python`` or ``cifar100``, or is such a folder itself.
        classes: ``fine``: 100 classes, with the 20 superclasses as ``coarse``. ``coarse``, called CIFAR-20: the 20
            superclasses, with the 100 classes as ``fine``.

    Raises:
        DataError: Files are missing or damaged.
    """
    name = "cifar100" if classes == "fine" else "cifar20"
    folder = find_folder(name, data_dir, ("cifar-100-python", "cifar100"), CIFAR100_FILES)
    meta = read_cifar_pickle(folder / "meta")
    names = {level: _names(folder / "meta", meta, f"{level}_label_names") for level in ("fine", "coarse")}

    def read(file: str) -> ImageData:
        path = folder / file
        batch = read_cifar_pickle(path)
        images = resident(_images(path, batch))
        fine = Labelling(_labels(path, batch, "fine_labels"), names["fine"])
        coarse = Labelling(_labels(path, batch, "coarse_labels"), names["coarse"])
        if classes == "fine":
            return ImageData(images, fine.labels, fine.names, coarse=coarse)
        return ImageData(images, coarse.labels, coarse.names, fine=fine)

    return read("train"), read("test")


def _images(path: Path, batch: dict[str, Any]) -> ByteArray:
    """The images of one file, uint8 ``(N, 3, 32, 32)``."""
    data = batch.get("data")
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != 3072:
        raise DataError(f"{path} is not a CIFAR file: its 'data' is not a uint8 array of shape (N, 3072).")
    return data.reshape(-1, 3, 32, 32)


def _labels(path: Path, batch: dict[str, Any], key: str) -> Tensor:
    """One labelling of one file, int64 ``(N,)``."""
    labels = batch.get(key)
    values = labels.tolist() if isinstance(labels, np.ndarray) else labels
    if not isinstance(values, list) or not all(type(value) is int and 0 <= value < MAX_CLASSES for value in values):
        raise DataError(f"{path} is not a CIFAR file: its {key!r} is not a list of class numbers.")
    return torch.tensor(values, dtype=torch.int64)


def _names(path: Path, meta: dict[str, Any], key: str) -> tuple[str, ...]:
    names = meta.get(key)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DataError(f"{path} is not CIFAR-100's meta file: its {key!r} is not a list of names.")
    return tuple(names)
