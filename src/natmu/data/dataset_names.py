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
    """Paths of the files of torchvision's folder data sets, relative to their root; nothing for other data sets."""
    if isinstance(dataset, Subset):
        names = file_names(dataset.dataset)
        return tuple(names[row] for row in dataset.indices) if names else ()
    root, samples = getattr(dataset, "root", None), getattr(dataset, "samples", None)
    if not isinstance(root, str | os.PathLike) or not isinstance(samples, Sequence) or len(samples) != _length(dataset):
        return ()
    paths = [sample[0] for sample in samples if isinstance(sample, tuple) and isinstance(sample[0], str)]
    if len(paths) != len(samples):
        return ()
    return tuple(Path(os.path.relpath(path, root)).as_posix() for path in paths)


def _length(dataset: object) -> int:
    return len(dataset) if hasattr(dataset, "__len__") else -1
