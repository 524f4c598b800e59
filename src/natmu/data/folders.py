"""A folder of images per class, in the order of torchvision's ImageFolder."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from natmu.data.arrays import Parts, Unseen
from natmu.data.class_order import ClassNames, arranged
from natmu.data.forms import Form
from natmu.data.image_files import ImageFiles, read_parts
from natmu.data.reachable import folders_in, walk
from natmu.errors import DataError

_ENDINGS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
_ANIMATED = ".gif"

ROLES = {
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
    "val": "val",
    "valid": "val",
    "validation": "val",
}
"""What the parts of data are called by their owners, in small letters, and which part each is."""


def load_folder(source: Path, data_dir: Path, form: Form, classes: ClassNames, unseen: Unseen) -> Parts:
    """Read ``train/<class>/*`` with ``test/<class>/*`` or ``val/<class>/*``, or ``<class>/*`` without a test part.

    ``training``, ``testing``, ``valid`` and ``validation`` are understood too, in any case. With both ``test`` and
    ``val``, ``val`` is the holdout. Images come in the order of torchvision's ImageFolder and are called by their paths
    in the source. They are grey when all of them are, else RGB. Many images are decoded once and kept in
    ``data_dir``; see ``decode``.

    Args:
        source: The folder.
        data_dir: Where data is kept.
        form: What all images are brought to.
        classes: How classes are numbered.
        unseen: Where test data comes from, if the source has none: a folder ``<class>/*``, or a part of it.

    Raises:
        DataError: No images are found, sizes differ, a file is damaged, it is not clear what the classes are, or test
            classes are not training classes.
    """
    parts = _parts(source)
    unseen.check(parts, source)
    if unseen.path is not None:
        parts["test"] = unseen.path
    inside = {role: _by_class(folder) for role, folder in parts.items()}
    names = _class_names(parts["train"], inside["train"], classes)
    files = {
        role: _labelled(folder, inside[role], names, folder.parent if role == "test" and unseen.path else source)
        for role, folder in parts.items()
    }
    return read_parts(files, names, data_dir, form)


def _parts(source: Path) -> dict[str, Path]:
    """The folder of each part; a source that is not divided is all training part."""
    found: dict[str, list[Path]] = {}
    for path in sorted(folders_in(source)):
        role = ROLES.get(path.name.lower())
        if role is not None and not files_in_order(path, below=False) and any(map(files_in_order, folders_in(path))):
            found.setdefault(role, []).append(path)
    if "train" not in found:
        return {"train": source}
    twice = next((paths for paths in found.values() if len(paths) > 1), None)
    if twice is not None:
        raise DataError(
            f"{source} has the folders {' and '.join(path.name for path in twice)}, which are the same part by their "
            "names; keep one of them."
        )
    parts = {role: paths[0] for role, paths in found.items()}
    if "val" in parts:
        parts["holdout" if "test" in parts else "test"] = parts.pop("val")
    return parts


def files_in_order(folder: Path, *, below: bool = True) -> list[Path]:
    """Paths of the image files in a folder, in the order of torchvision's ImageFolder.

    That is ``os.walk`` with links followed, by the text of each folder's path and then by file name. Files are known by
    their endings. ImageFolder passes GIFs over; they are read where there is nothing else.

    Args:
        folder: The folder.
        below: Whether folders in it count.
    """
    inside = walk(folder, below=below)
    files = [root / name for root, names in inside for name in sorted(names)]
    known = [path for path in files if path.name.lower().endswith(_ENDINGS)]
    return known or [path for path in files if path.name.lower().endswith(_ANIMATED)]


def _by_class(folder: Path) -> dict[str, list[Path]]:
    """The image files in each folder of a part that holds any, in the order of ImageFolder."""
    inside = {path.name: files_in_order(path) for path in sorted(folders_in(folder))}
    return {name: files for name, files in inside.items() if files}


def _class_names(folder: Path, inside: Mapping[str, Sequence[Path]], classes: ClassNames) -> tuple[str, ...]:
    """The classes of the training images in the order of their numbers."""
    if len(inside) < 2 and classes.given is None:
        raise DataError(f"{folder} must hold a folder of images for each of two or more classes; found {len(inside)}.")
    hidden = next((name for name in inside if name.startswith(".")), None)
    if hidden is not None and classes.given is None:
        raise DataError(
            f"{folder / hidden} is a hidden folder and would be a class; remove it, or list the classes in a file for "
            "--classes."
        )
    names = arranged(inside, classes, str(folder))
    unclear = [name for name, files in inside.items() if all(file.parent != folder / name for file in files)]
    if unclear and classes.given is None:
        below = ", ".join(sorted(path.name for path in folders_in(folder / unclear[0]))[:3])
        raise DataError(
            f"{folder / unclear[0]} holds folders ({below}) and no images of its own, so it may be a class or a part "
            "of the data. Call the parts train and test, or list the classes in a file for --classes."
        )
    return names


def _labelled(folder: Path, inside: Mapping[str, Sequence[Path]], names: Sequence[str], named_from: Path) -> ImageFiles:
    """The image files of a part, one class after the other by the text of its name, whatever its number.

    Args:
        folder: The part.
        inside: Its files by class.
        names: The classes in the order of their numbers.
        named_from: Files are called by their paths from here.
    """
    number = {name: row for row, name in enumerate(names)}
    unknown = next((name for name in inside if name not in number), None)
    if unknown is not None:
        raise DataError(f"{folder} has the class {unknown!r}, which the training images do not have.")
    files = [path for part in inside.values() for path in part]
    if len(files) < 2:
        raise DataError(f"{folder} must hold two or more images in folders named after their classes.")
    labels = np.repeat([number[name] for name in inside], [len(part) for part in inside.values()])
    called = tuple(Path(os.path.relpath(path, named_from)).as_posix() for path in files)
    return ImageFiles(tuple(files), labels.astype(np.int64), called)
