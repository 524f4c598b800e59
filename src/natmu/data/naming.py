"""Classes by name: a model's classes, the superclasses above them and the sub-classes below."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from natmu.data.images import ImageData
from natmu.errors import ForgetSetError, fold, hint
from natmu.types import IntArray

_LISTED = 10


def class_members(names: Sequence[str], data: ImageData) -> tuple[IntArray, tuple[int, ...]]:
    """The samples of classes of the model.

    Args:
        names: Names or numbers of classes, or names of superclasses, which mean all their classes. Case does not
            matter; space, underscore and hyphen are the same.
        data: The training data.

    Returns:
        Sorted positions of the samples, and the sorted classes.

    Raises:
        ForgetSetError: A name is unknown or means several classes.
    """
    coarse_names = data.coarse.names if data.coarse else ()
    classes: set[int] = set()
    for name in names:
        number = _find(name, data.class_names)
        above = _find_name(name, coarse_names) if number is None else None
        if number is not None:
            classes.add(number)
        elif above is not None and data.coarse is not None:
            classes |= set(data.labels[data.coarse.labels == above].tolist())
        elif data.fine is not None and _find_name(name, data.fine.names) is not None:
            raise ForgetSetError(f"{name!r} is not a class of the model but a sub-class; write subclass:{name}.")
        else:
            raise _unknown(name, "class", (*data.class_names, *coarse_names))
    return _members(data.labels, classes)


def subclass_members(names: Sequence[str], data: ImageData) -> tuple[IntArray, tuple[int, ...]]:
    """The samples of sub-classes, which are finer than the model's classes.

    Args:
        names: Names or numbers of sub-classes.
        data: The training data.

    Returns:
        Sorted positions of the samples, and the sorted fine labels.

    Raises:
        ForgetSetError: The data has no sub-classes, or a name is unknown or is that of a class.
    """
    fine = data.fine
    numbers = {name: None if fine is None else _find(name, fine.names) for name in names}
    for name in (name for name, number in numbers.items() if number is None):
        coarse_names = data.coarse.names if data.coarse else ()
        if any(_find_name(name, known) is not None for known in (data.class_names, coarse_names)):
            raise ForgetSetError(f"{name!r} is a class of the model, not a sub-class; write class:{name}.")
        if fine is None:
            raise ForgetSetError(
                f"There is no sub-class {name!r}, because this data has no labels finer than its classes; "
                "write class:NAME, or choose data such as cifar20."
            )
        raise _unknown(name, "sub-class", fine.names)
    if fine is None:
        raise AssertionError("without fine labels every name was refused")
    return _members(fine.labels, {number for number in numbers.values() if number is not None})


def _members(labels: Tensor, classes: set[int]) -> tuple[IntArray, tuple[int, ...]]:
    chosen = tuple(sorted(classes))
    return np.flatnonzero(np.isin(labels.numpy(), chosen)).astype(np.int64), chosen


def _find(name: str, known: Sequence[str]) -> int | None:
    """The number of a class given by name or, failing that, by number."""
    number = _find_name(name, known)
    if number is None and name.isascii() and name.isdigit() and len(name) < 10 and int(name) < len(known):
        return int(name)
    return number


def _find_name(name: str, known: Sequence[str]) -> int | None:
    """The number of a class by its exact name, else by its name without regard to case and separators."""
    matches = [row for row, candidate in enumerate(known) if candidate == name]
    matches = matches or [row for row, candidate in enumerate(known) if fold(candidate) == fold(name)]
    if len(matches) > 1:
        numbers = ", ".join(str(row) for row in matches)
        raise ForgetSetError(f"{name!r} is the name of {len(matches)} classes; give the number of one: {numbers}.")
    return matches[0] if matches else None


def _unknown(name: str, what: str, known: Sequence[str]) -> ForgetSetError:
    suggestion = hint(name, known)
    if suggestion:
        return ForgetSetError(f"There is no {what} {name!r}{suggestion}.")
    listed = ", ".join(known[:_LISTED]) + (", …" if len(known) > _LISTED else "")
    return ForgetSetError(f"There is no {what} {name!r}; there are {listed}.")
