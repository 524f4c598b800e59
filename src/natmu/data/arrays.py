"""Images and labels kept as arrays: one ``.npz`` file, or a folder of ``.npy`` files."""

from __future__ import annotations

import tokenize
import zipfile
import zlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from natmu.data.images import ByteArray, ImageData
from natmu.data.own import OwnParts
from natmu.data.pixels import image_data, plain_names, to_labels, to_nchw
from natmu.data.sampling import fixed_fifth
from natmu.errors import DataError
from natmu.types import IntArray

NPY_FAULTS = (
    OSError,
    SyntaxError,
    ValueError,
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    NotImplementedError,
    RecursionError,
    TypeError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What numpy raises on files that are damaged, or are something else."""

_IMAGES = ("images", "image", "data", "x")
_LABELS = ("labels", "label", "targets", "target", "y")
_LAYOUTS = "x_train, y_train, x_test and y_test (or train_images, train_labels and so on), or images and labels"


@dataclass(frozen=True)
class Parts:
    """A data set as its owner divided it.

    Attributes:
        train: The training set.
        test: The test set, or the validation set where there is no other.
        holdout: The validation set where there is a test set too.
        own: The samples of the first two as their own loader has them, where there is one.
    """

    train: ImageData
    test: ImageData
    holdout: ImageData | None = None
    own: OwnParts | None = None


def open_npy(path: Path) -> npt.NDArray[Any]:
    """Map a ``.npy`` file read-only; pickled objects are refused.

    Raises:
        DataError: The file is missing, damaged or something else.
    """
    try:
        return np.lib.format.open_memmap(path, mode="r")
    except NPY_FAULTS as error:
        raise DataError(f"{path} cannot be read as a .npy array of numbers ({error}).") from None


def load_arrays(source: Path) -> Parts:
    """Read a ``.npz`` file or a folder of ``.npy`` files; the folder's uint8 images are mapped, not read.

    Training and test images are found by name, in any case: ``x_train``, ``train_images``, ``train_data``,
    ``images_train`` and so on, with ``y_train``, ``train_labels``, ``train_targets``. Without a test set ``val`` takes
    its place; with one it is the holdout. Of a single pair ``images``, ``labels`` a fixed class-balanced random fifth
    becomes the test set; that division is made in memory, so give data larger than memory as training and test pairs.

    Raises:
        DataError: The file is damaged, the names are not understood, or images and labels do not fit together.
    """
    if source.is_dir():
        readers = {path.stem.lower(): partial(open_npy, path) for path in sorted(source.glob("*.npy"))}
        return _assemble(readers, source)
    with source.open("rb") as file:
        try:
            archive = np.load(file, allow_pickle=False)
        except NPY_FAULTS as error:
            raise DataError(f"{source} cannot be read as an .npz file of arrays of numbers ({error}).") from None
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise DataError(f"{source} holds one array; images and labels are needed.")
        readers = {key.lower(): partial(_read_npz, archive, key, source) for key in archive.files}
        return _assemble(readers, source)


def _read_npz(archive: np.lib.npyio.NpzFile, key: str, source: Path) -> npt.NDArray[Any]:
    try:
        return np.asarray(archive[key])
    except NPY_FAULTS as error:
        raise DataError(f"{source}: {key} cannot be read as an array of numbers ({error}).") from None


def _assemble(readers: Mapping[str, Callable[[], npt.NDArray[Any]]], source: Path) -> Parts:
    """Read the pairs that are there and give them their roles."""
    pairs = {split: _pair(readers, split) for split in ("train", "test", "val", "")}
    read = {
        split: _read_pair(readers[pair[0]](), readers[pair[1]](), f"{source}: {pair[0]}", f"{source}: {pair[1]}")
        for split, pair in pairs.items()
        if pair is not None and (split or len([other for other in pairs.values() if other]) == 1)
    }
    if "" in read:
        images, labels = read[""]
        train, test = fixed_fifth(labels)
        read = {"train": (images[train], labels[train]), "test": (images[test], labels[test])}
    if "train" not in read or len(read) < 2:
        raise DataError(f"{source} must hold {_LAYOUTS}; it holds {', '.join(sorted(readers)) or 'nothing'}.")
    names = plain_names(*(labels for _, labels in read.values()))
    data = {split: image_data(*pair, names) for split, pair in read.items()}
    test_name = "test" if "test" in data else "val"
    return Parts(data["train"], data[test_name], data.get("val") if test_name == "test" else None)


def _pair(keys: Collection[str], split: str) -> tuple[str, str] | None:
    """The names of a split's images and labels, where both are there."""

    def find(words: tuple[str, ...]) -> str | None:
        candidates = [key for word in words for key in ((f"{split}_{word}", f"{word}_{split}") if split else (word,))]
        return next((key for key in candidates if key in keys), None)

    images, labels = find(_IMAGES), find(_LABELS)
    return (images, labels) if images and labels else None


def _read_pair(
    images: npt.NDArray[Any], labels: npt.NDArray[Any], images_name: str, labels_name: str
) -> tuple[ByteArray, IntArray]:
    pixels = to_nchw(images, images_name)
    return pixels, to_labels(labels, len(pixels), labels_name)
