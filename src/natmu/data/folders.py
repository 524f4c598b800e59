"""A folder of images per class."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from natmu.data.arrays import Parts
from natmu.data.decoding import common_form, decode, image_files
from natmu.data.images import ImageData
from natmu.data.own import FileSamples, OwnParts
from natmu.data.pixels import image_data
from natmu.data.sampling import fixed_fifth
from natmu.errors import DataError
from natmu.types import IntArray

_TEST_FOLDERS = ("test", "val", "valid", "validation")
_IN_MEMORY_BYTES = 2**31

_Files = tuple[list[Path], IntArray]


def load_folder(source: Path, data_dir: Path, image_size: int | None) -> Parts:
    """Read ``train/<class>/*`` with ``test/<class>/*`` or ``val/<class>/*``, or ``<class>/*``.

    Classes are numbered in the sorted order of their folders' names. Of a flat folder a fixed class-balanced random
    fifth becomes the test set. With both ``test`` and ``val``, ``val`` is the holdout. Images are grey when all of
    them are, else RGB. More than 2 GiB of decoded images are kept in ``data_dir`` and mapped.

    Args:
        source: The folder.
        data_dir: Where data is kept.
        image_size: Side of the square that all images are resized to; None where all have one size.

    Raises:
        DataError: No images are found, sizes differ, a file is damaged, or test classes are not training classes.
    """
    splits, names = _find_files(source)
    form = common_form([path for files, _ in splits.values() for path in files], image_size)

    def read(files: Sequence[Path], labels: IntArray) -> ImageData:
        size = len(files) * math.prod((form.channels, form.height, form.width))
        cache = data_dir if size > _IN_MEMORY_BYTES else None
        return image_data(decode(files, form, cache), labels, names)

    data = {split: read(*part) for split, part in splits.items()}
    mode = "L" if form.channels == 1 else "RGB"
    own = OwnParts(*(FileSamples(*splits[split], mode) for split in ("train", "test")))
    return Parts(data["train"], data["test"], data.get("holdout"), own)


def _find_files(source: Path) -> tuple[dict[str, _Files], tuple[str, ...]]:
    """The files and labels of each split, and the class names."""
    if not (source / "train").is_dir():
        names = _classes(source)
        files, labels = _labelled(source, names)
        rest, fifth = fixed_fifth(labels)
        flat = {"train": rest, "test": fifth}
        return {split: ([files[row] for row in rows], labels[rows]) for split, rows in flat.items()}, names
    names = _classes(source / "train")
    held = [name for name in _TEST_FOLDERS if (source / name).is_dir()]
    if not held:
        raise DataError(f"{source} has a folder 'train' but neither 'test' nor 'val'; add one for the test images.")
    roles = dict(zip(("test", "holdout"), held, strict=False)) | {"train": "train"}
    return {role: _labelled(source / folder, names) for role, folder in sorted(roles.items(), reverse=True)}, names


def _classes(folder: Path) -> tuple[str, ...]:
    """The names of the folders that hold images, sorted."""
    names = tuple(sorted(path.name for path in folder.iterdir() if path.is_dir() and image_files(path)))
    if len(names) < 2:
        raise DataError(f"{folder} must hold a folder of images for each of two or more classes; found {len(names)}.")
    return names


def _labelled(folder: Path, names: Sequence[str]) -> _Files:
    """The image files of a split in the order of their classes, and their labels ``(N,)``."""
    strangers = sorted({path.name for path in folder.iterdir() if path.is_dir() and image_files(path)} - set(names))
    if strangers:
        raise DataError(f"{folder} has the class {strangers[0]!r}, which the training images do not have.")
    by_class = [image_files(folder / name) for name in names]
    files = [path for part in by_class for path in part]
    if len(files) < 2:
        raise DataError(f"{folder} must hold two or more images in folders named after their classes.")
    return files, np.repeat(np.arange(len(names)), [len(part) for part in by_class])
