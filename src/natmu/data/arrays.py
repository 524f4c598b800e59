"""Images and labels kept as arrays: one ``.npz`` file, or a folder of ``.npy`` files."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy.typing as npt

from natmu.data.class_order import AS_FOUND, ClassNames, first_label
from natmu.data.images import ImageData
from natmu.data.mapped import PixelArray
from natmu.data.own import OwnParts
from natmu.data.pixels import image_data, plain_names, to_labels, to_nchw
from natmu.errors import DataError, some
from natmu.samples.npy import open_npy, opened_npz, read_member
from natmu.types import IntArray

_IMAGES = ("images", "image", "data", "x")
_LABELS = ("labels", "label", "targets", "target", "y")
_LAYOUTS = "x_train, y_train, x_test and y_test (or train_images, train_labels and so on), or images and labels"


_Reader = Callable[[], npt.NDArray[Any]]


@dataclass(frozen=True)
class Parts:
    """A data set as its owner divided it.

    Attributes:
        train: The training set, or all samples where they are not divided.
        test: The test set, or the validation set where there is no other; None where samples are not divided.
        holdout: The validation set where there is a test set too.
        own: Training and test samples in the order of the source, as the user's own loader has them.
    """

    train: ImageData
    test: ImageData | None
    holdout: ImageData | None = None
    own: OwnParts | None = None


@dataclass(frozen=True)
class Unseen:
    """Where test data comes from when a source has none.

    Attributes:
        path: Where it lies.
        fraction: How much of the source becomes test data.
    """

    path: Path | None = None
    fraction: float | None = None

    def check(self, parts: Collection[str], source: Path) -> None:
        """Refuse a source without test data, and test data that nobody needs, before anything is read.

        Args:
            parts: The parts that the source has.
            source: Names it in errors.

        Raises:
            DataError: Test data is missing, or there twice.
        """
        flags = [flag for flag, value in (("--test-data", self.path), ("--test-fraction", self.fraction)) if value]
        if {"test", "val"} & {*parts}:
            if flags:
                raise DataError(f"{source} has a test part of its own; leave {flags[0]} out.")
        elif not flags:
            raise DataError(
                f"{source} has no test part, and natmu does not choose one by itself; give one with --test-data PATH, "
                "or make a fixed class-balanced part the test set with --test-fraction 20%."
            )
        elif len(flags) > 1:
            raise DataError("Give either --test-data or --test-fraction, not both.")


BRINGS_ITS_OWN = Unseen()
"""A source that has test data."""


def load_arrays(source: Path, classes: ClassNames = AS_FOUND, unseen: Unseen = BRINGS_ITS_OWN) -> Parts:
    """Read a ``.npz`` file or a folder of ``.npy`` files; the folder's uint8 images are mapped, not read.

    Training and test images are found by name, in any case: ``x_train``, ``train_images``, ``train_data``,
    ``images_train`` and so on, with ``y_train``, ``train_labels``, ``train_targets``. Without a test set ``val`` takes
    its place; with one it is the holdout. A single pair ``images``, ``labels`` is not divided.

    Args:
        source: The file or folder.
        classes: Names of the classes in the order of their numbers; by default the numbers.
        unseen: Where test data comes from, if the source has none: a file or folder of one pair, or a part of it.

    Raises:
        DataError: The file is damaged, the names are not understood, or images and labels do not fit together.
    """
    read = _pairs(source)
    unseen.check(read, source)
    if unseen.path is not None:
        pairs = _pairs(unseen.path, "")
        if len(pairs) != 1:
            raise DataError(f"{unseen.path} must hold one pair of test images and labels; it holds {len(pairs)}.")
        read["test"] = next(iter(pairs.values()))
    names = _class_names(read, source, classes)
    data = {split: image_data(*pair, names) for split, pair in read.items()}
    test_name = "test" if "test" in data else "val"
    return Parts(data["train"], data.get(test_name), data.get("val") if test_name == "test" else None)


def _pairs(source: Path, wanted: str = "train") -> dict[str, tuple[PixelArray, IntArray]]:
    """The images and labels of each part that a file or folder holds, which must have a wanted one, if any."""
    if source.is_dir():
        files = {path.stem: partial(open_npy, path) for path in sorted(source.glob("*.npy"))}
        return _assemble(_in_small_letters(files, source), source, wanted)
    with opened_npz(source) as archive:
        arrays = {key: partial(read_member, archive, key, source) for key in archive.files}
        return _assemble(_in_small_letters(arrays, source), source, wanted)


def _in_small_letters(readers: Mapping[str, _Reader], source: Path) -> dict[str, _Reader]:
    """The arrays by their names in small letters."""
    small = {name.lower(): reader for name, reader in readers.items()}
    if len(small) < len(readers):
        names = sorted(name for name in readers if sum(name.lower() == other.lower() for other in readers) > 1)
        raise DataError(f"{source} holds {some(names)}, which differ only in capital letters; keep one.")
    return small


def _assemble(readers: Mapping[str, _Reader], source: Path, wanted: str) -> dict[str, tuple[PixelArray, IntArray]]:
    """Read the pairs that are there; a single one without a part's name is all training part."""
    pairs = {split: _pair(readers, split) for split in ("train", "test", "val", "")}
    read = {
        split: _read_pair(readers[pair[0]](), readers[pair[1]](), f"{source}: {pair[0]}", f"{source}: {pair[1]}")
        for split, pair in pairs.items()
        if pair is not None and (split or len([other for other in pairs.values() if other]) == 1)
    }
    if "" in read:
        read["train"] = read.pop("")
    if wanted not in ("", *read):
        raise DataError(f"{source} must hold {_LAYOUTS}; it holds {some(sorted(readers), 10) or 'nothing'}.")
    return read


def _class_names(read: dict[str, tuple[PixelArray, IntArray]], source: Path, classes: ClassNames) -> tuple[str, ...]:
    """The names of the classes; labels that count from 1 are made to count from 0 where the names say so."""
    shift = first_label(read["train"][1], classes, f"Labels of {source}")
    if shift:
        read |= {split: (images, labels - shift) for split, (images, labels) in read.items()}
    return classes.given or plain_names(*(labels for _, labels in read.values()))


def _pair(keys: Collection[str], split: str) -> tuple[str, str] | None:
    """The names of a split's images and labels, where both are there."""

    def find(words: tuple[str, ...]) -> str | None:
        candidates = [key for word in words for key in ((f"{split}_{word}", f"{word}_{split}") if split else (word,))]
        return next((key for key in candidates if key in keys), None)

    images, labels = find(_IMAGES), find(_LABELS)
    return (images, labels) if images and labels else None


def _read_pair(
    images: npt.NDArray[Any], labels: npt.NDArray[Any], images_name: str, labels_name: str
) -> tuple[PixelArray, IntArray]:
    pixels = to_nchw(images, images_name)
    return pixels, to_labels(labels, len(pixels), labels_name)
