"""What a user's data set, or one that it is made of, calls its classes and its samples."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor
from torch.utils.data import ConcatDataset, Subset

from natmu.types import IntArray

_LABEL_COLUMNS = ("label", "labels", "fine_label", "coarse_label", "target", "targets")


def class_names_of(dataset: object, labels: IntArray | None = None) -> tuple[str, ...] | None:
    """Class names that a data set tells: its ``classes``, the ``features`` of a HuggingFace data set, or what it holds.

    A ``Subset`` and a ``ConcatDataset`` hand labels on unchanged. Any other wrapper of a ``dataset`` may change them;
    its names count only where that data set lists the very same labels.

    Args:
        dataset: The data set.
        labels: Labels as read from it, ``(N,)``; None where they are not at hand.

    Returns:
        One name per class; None where nobody tells them.
    """
    names = getattr(dataset, "classes", None) or _feature_names(dataset)
    if isinstance(names, list | tuple) and names and all(isinstance(name, str) for name in names):
        return tuple(names)
    if isinstance(dataset, Subset):
        return class_names_of(dataset.dataset)
    if isinstance(dataset, ConcatDataset):
        parts = {class_names_of(part) for part in dataset.datasets}
        return next(iter(parts)) if len(parts) == 1 else None
    inside = getattr(dataset, "dataset", None)
    return class_names_of(inside, labels) if labels is not None and _lists(inside, labels) else None


def _feature_names(dataset: object) -> object:
    """Class names of the label column of a HuggingFace data set."""
    features = getattr(dataset, "features", None)
    if not isinstance(features, Mapping):
        return None
    column = next((name for name in _LABEL_COLUMNS if name in features), None)
    return None if column is None else getattr(features[column], "names", None)


def _lists(dataset: object, labels: IntArray) -> bool:
    """Whether a data set keeps these labels in ``targets``."""
    targets = getattr(dataset, "targets", None)
    if not isinstance(targets, list | tuple | np.ndarray | Tensor) or len(targets) != len(labels):
        return False
    return np.array_equal(np.asarray(targets), labels)


def file_names(dataset: object) -> tuple[str, ...]:
    """What a data set calls its samples: its ``names``, or the paths in its ``samples``, as torchvision's folders have.

    Args:
        dataset: The data set, or a ``Subset`` of one. ``names`` count where they are one distinct text for each item.
            Paths are relative to its ``root``, where they lie in one, else to the folder that holds all of them.

    Returns:
        One name per sample; nothing where the data set tells none.
    """
    if isinstance(dataset, Subset):
        names = file_names(dataset.dataset)
        return tuple(names[row] for row in dataset.indices) if names else ()
    names = _texts(getattr(dataset, "names", None), dataset)
    if len(set(names)) == len(names) > 0:
        return names
    samples = getattr(dataset, "samples", None)
    if not isinstance(samples, Sequence) or not all(isinstance(sample, tuple | list) and sample for sample in samples):
        return ()
    paths = _texts([sample[0] for sample in samples], dataset)
    return _below(getattr(dataset, "root", None), paths) if paths else ()


def _texts(values: object, dataset: object) -> tuple[str, ...]:
    """Texts or paths, one for each item of a data set; nothing if they are something else."""
    listed = values.tolist() if isinstance(values, np.ndarray) else values
    length = len(dataset) if hasattr(dataset, "__len__") else -1
    if not isinstance(listed, list | tuple) or len(listed) != length:
        return ()
    texts = [os.fspath(value) for value in listed if isinstance(value, str | os.PathLike)]
    return tuple(texts) if len(texts) == length else ()


def _below(root: object, paths: Sequence[str]) -> tuple[str, ...]:
    """Paths relative to a folder, by default the one that all of them lie in."""
    whole = [os.path.normpath(Path(path).absolute()) for path in paths]
    known = os.path.normpath(Path(root).absolute()) if isinstance(root, str | os.PathLike) else None
    if known is None or not all(Path(path).is_relative_to(known) for path in whole):
        known = os.path.commonpath({str(Path(path).parent) for path in whole})
    return tuple(Path(os.path.relpath(path, known)).as_posix() for path in whole)
