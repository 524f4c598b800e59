"""Whether a data set gives other items from one reading to the next, wherever in it the randomness sits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

import numpy as np
from torch import Tensor

from natmu.errors import DataError

PROBES = 64
"""Items that are read twice, spread over the data set."""

TRANSFORMS = (
    "transform",
    "transforms",
    "target_transform",
    "augment",
    "augmentation",
    "augmentations",
    "tf",
    "_format_kwargs",
)
"""Attributes in which data sets keep what they do to their items; the last is that of HuggingFace's."""

RANDOM = frozenset(
    {
        "AugMix", "AutoAugment", "ColorJitter", "CutMix", "Cutout", "ElasticTransform", "GaussNoise", "GaussianNoise",
        "MixUp", "RandAugment", "ScaleJitter", "ShiftScaleRotate", "TrivialAugmentWide",
    }
)  # fmt: skip
"""Transforms of torchvision and albumentations that are random and do not say so by beginning with ``Random``."""

_PLAIN = (str, bytes, int, float, complex, bool, type(None), np.ndarray, np.generic, Tensor, type)
_DEEPEST = 12
_MANY = 1000
"""Longest list that may be one of data sets or of transforms."""


def refuse_random(dataset: Any, count: int, read: Callable[[int], tuple[Any, Any]]) -> None:  # noqa: ANN401
    """Refuse items that change from one reading to the next: they would be frozen as read.

    Args:
        dataset: The data set, with the transforms and the data sets that it is made of.
        count: Its length.
        read: The image, as an array, and the label of an item.

    Raises:
        DataError: It has a random transform, or an item changed.
    """
    remedy = "remove random transforms; training augments by itself, or by a function of yours (augment=)"
    name = next(random_transforms(dataset), None)
    if name is not None:
        raise DataError(f"The data set has the random transform {name}: its items would be frozen as read; {remedy}.")
    for index in np.unique(np.linspace(0, count - 1, min(count, PROBES)).round().astype(int)).tolist():
        first, again = read(index), read(index)
        if not np.array_equal(first[0], again[0]) or first[1] != again[1]:
            raise DataError(f"Item {index} of the data set changes from one reading to the next; {remedy}.")


def random_transforms(dataset: object) -> Iterator[str]:
    """Names of the random transforms of a data set, and of the data sets that it is made of."""
    seen: set[int] = set()
    for part in _parts(dataset, seen, 0):
        for name in TRANSFORMS:
            yield from _random_within(getattr(part, name, None), seen, 0)


def _parts(dataset: object, seen: set[int], depth: int) -> Iterator[object]:
    """A data set, and all those in its attributes and lists of them."""
    if isinstance(dataset, _PLAIN) or id(dataset) in seen or depth > _DEEPEST:
        return
    seen.add(id(dataset))
    yield dataset
    for value in _attributes(dataset).values():
        members = value if isinstance(value, list | tuple) and len(value) <= _MANY else [value]
        for member in members:
            if _is_dataset(member):
                yield from _parts(member, seen, depth + 1)


def _is_dataset(value: object) -> bool:
    return (
        hasattr(value, "__getitem__")
        and hasattr(value, "__len__")
        and not isinstance(value, (*_PLAIN, list, tuple, dict, set))
    )


def _random_within(value: object, seen: set[int], depth: int) -> Iterator[str]:
    """Names of the random transforms that a transform is or is made of."""
    if isinstance(value, _PLAIN) or id(value) in seen or depth > _DEEPEST:
        return
    seen.add(id(value))
    if callable(value) and _is_random(value):
        yield type(value).__name__
        return
    if isinstance(value, list | tuple | dict):
        members = [*value.values()] if isinstance(value, dict) else [*value]
    else:
        members = [*_attributes(value).values(), *_read_by(value)]
        members += [getattr(value, name, None) for name in ("__self__", "func", "args", "keywords")]
    for member in members[:_MANY]:
        yield from _random_within(member, seen, depth + 1)


def _read_by(function: object) -> list[object]:
    """The objects that a function reads: those of the function around it, and globals that are no code."""
    if not isinstance(function, FunctionType):
        return []
    read = [function.__globals__.get(name) for name in function.__code__.co_names]
    objects = [value for value in read if not isinstance(value, FunctionType | BuiltinFunctionType | ModuleType)]
    return [*objects, *(cell.cell_contents for cell in function.__closure__ or ())]


def _is_random(transform: object) -> bool:
    """Whether a transform is random by its name or by its probability."""
    name, chance = type(transform).__name__, getattr(transform, "p", None)
    if isinstance(chance, int | float) and chance == 0:
        return False
    if name.startswith("Random") or name in RANDOM:
        return True
    of_network = type(transform).__module__.startswith("torch.nn.")  # dropout within a network in eval mode
    return isinstance(chance, float) and 0 < chance < 1 and not of_network


def _attributes(value: object) -> dict[str, Any]:
    attributes = getattr(value, "__dict__", {})
    return dict(attributes) if isinstance(attributes, dict) else {}
