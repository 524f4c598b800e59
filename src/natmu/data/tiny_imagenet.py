"""Tiny-ImageNet, from the official archive's folder or from four arrays."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from natmu.data.arrays import Parts, load_arrays
from natmu.data.decoding import AS_IT_IS, decode, image_files
from natmu.data.forms import Form
from natmu.data.locate import missing
from natmu.data.pixels import image_data
from natmu.errors import DataError
from natmu.user_files import read_text

OFFICIAL_FILES = ("wnids.txt", "train", "val/images", "val/val_annotations.txt")
ARRAY_FILES = ("train_data.npy", "train_label.npy", "val_data.npy", "val_label.npy")


def load_tiny_imagenet(data_dir: Path, form: Form = AS_IT_IS) -> tuple[Parts, Form]:
    """Training set, and validation set in the role of the test set, uint8 ``(N, 3, 64, 64)``, mapped from disk.

    Classes of the official folder are numbered in the order of their sorted WordNet identifiers, as is usual. Its
    images are decoded once, into the folder ``decoded`` in the folder of data.

    Args:
        data_dir: Holds ``tiny-imagenet-200``, or is such a folder itself.
        form: What they are brought to.

    Returns:
        The parts, and what of the form is still to be done.

    Raises:
        DataError: Files are missing or damaged.
    """
    places = (data_dir / "tiny-imagenet-200", data_dir)
    for place in places:
        if all((place / name).exists() for name in OFFICIAL_FILES):
            return _load_official(place, data_dir, replace(form, channels=form.channels or 3)), AS_IT_IS
        if all((place / name).exists() for name in ARRAY_FILES):
            return load_arrays(place), form
    raise missing("tiny-imagenet", data_dir, places, (*OFFICIAL_FILES, f"or {', '.join(ARRAY_FILES)}"))


def _load_official(folder: Path, data_dir: Path, form: Form) -> Parts:
    wnids = sorted(line for line in _lines(folder / "wnids.txt") if line)
    number = {wnid: row for row, wnid in enumerate(wnids)}
    names = _class_names(folder, wnids)
    train = [(path, number[wnid]) for wnid in wnids for path in image_files(folder / "train" / wnid)]
    test = [(folder / "val" / "images" / name, number[wnid]) for name, wnid in _annotations(folder, number)]

    for rows, what in ((train, "training"), (test, "validation")):
        if not rows:
            raise DataError(f"{folder} holds no {what} images; remove it and get it again.")
    labels = np.array([label for _, label in train + test], np.int64)
    whole = image_data(decode([path for path, _ in train + test], form, data_dir), labels, names)
    return Parts(whole.subset(range(len(train))), whole.subset(range(len(train), len(whole))))


def _annotations(folder: Path, known: dict[str, int]) -> list[tuple[str, str]]:
    """File name and WordNet identifier of each validation image, in the order of the annotations."""
    path = folder / "val" / "val_annotations.txt"
    rows = [line.split("\t") for line in _lines(path) if line]
    for fields in rows:
        if len(fields) < 2 or fields[1] not in known or Path(fields[0]).name != fields[0]:
            raise DataError(f"{path} has a line that names no image and known class: {' '.join(fields)[:80]!r}.")
    return [(fields[0], fields[1]) for fields in rows]


def _class_names(folder: Path, wnids: Sequence[str]) -> tuple[str, ...]:
    """The first term of each class in ``words.txt``, else its identifier; both where two classes share a term."""
    words = folder / "words.txt"
    rows = [line.partition("\t") for line in _lines(words)] if words.exists() else []
    terms = {wnid: term.split(",")[0].strip() for wnid, _, term in rows if term.strip(" ,")}
    uses = Counter(terms.get(wnid, wnid) for wnid in wnids)
    names = [(terms.get(wnid, wnid), wnid) for wnid in wnids]
    return tuple(name if uses[name] == 1 else f"{name} ({wnid})" for name, wnid in names)


def _lines(path: Path) -> list[str]:
    try:
        return [line.strip() for line in read_text(path).splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read ({error}); get the data set again.") from None
