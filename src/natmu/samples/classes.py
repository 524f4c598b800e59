"""Classes by name: a model's classes, the superclasses above them and the sub-classes below."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from natmu.errors import ForgetSetError, fold, hint
from natmu.types import IntArray

_LISTED = 10


@dataclass(frozen=True, eq=False)
class ClassLabels:
    """One labelling of the training samples.

    Attributes:
        labels: int64 ``(N,)``.
        names: One name per value of ``labels``.
    """

    labels: IntArray
    names: Sequence[str]

    def members(self, classes: set[int]) -> tuple[IntArray, tuple[int, ...]]:
        """Sorted positions of the samples with these labels, and the sorted labels."""
        chosen = tuple(sorted(classes))
        return np.flatnonzero(np.isin(self.labels, chosen)).astype(np.int64), chosen


def class_members(
    names: Sequence[str], classes: ClassLabels, *, fine: ClassLabels | None = None, coarse: ClassLabels | None = None
) -> tuple[IntArray, tuple[int, ...]]:
    """The samples of classes of the model.

    Args:
        names: Names or numbers of classes, or names of superclasses, which mean all their classes. Case does not
            matter; space, underscore and hyphen are the same. ``name=1`` is the class called 1, ``#1`` that number.
        classes: The model's classes.
        fine: Sub-classes, if there are any.
        coarse: Superclasses, if there are any.

    Returns:
        Sorted positions of the samples, and the sorted classes.

    Raises:
        ForgetSetError: A name is unknown or means several classes.
    """
    coarse_names = coarse.names if coarse else ()
    numbers: set[int] = set()
    for name in names:
        number = _find(name, classes.names)
        above = _find_name(name, coarse_names) if number is None else None
        if number is not None:
            numbers.add(number)
        elif above is not None and coarse is not None:
            numbers |= set(classes.labels[coarse.labels == above].tolist())
        elif fine is not None and _find_name(name, fine.names) is not None:
            raise ForgetSetError(f"{name!r} is not a class of the model but a sub-class; write subclass:{name}.")
        else:
            raise _unknown(name, "class", (*classes.names, *coarse_names))
    return classes.members(numbers)


def subclass_members(
    names: Sequence[str], classes: ClassLabels, *, fine: ClassLabels | None, coarse: ClassLabels | None = None
) -> tuple[IntArray, tuple[int, ...]]:
    """The samples of sub-classes, which are finer than the model's classes.

    Args:
        names: Names or numbers of sub-classes.
        classes: The model's classes.
        fine: The sub-classes, if there are any.
        coarse: Superclasses, if there are any.

    Returns:
        Sorted positions of the samples, and the sorted fine labels.

    Raises:
        ForgetSetError: The data has no sub-classes, or a name is unknown or is that of a class.
    """
    numbers = {name: None if fine is None else _find(name, fine.names) for name in names}
    for name in (name for name, number in numbers.items() if number is None):
        coarse_names = coarse.names if coarse else ()
        if any(_find_name(name, known) is not None for known in (classes.names, coarse_names)):
            raise ForgetSetError(f"{name!r} is a class of the model, not a sub-class; write class:{name}.")
        if fine is None:
            raise ForgetSetError(
                f"There is no sub-class {name!r}, because this data has no labels finer than its classes; "
                "write class:NAME, or choose data such as cifar20."
            )
        raise _unknown(name, "sub-class", fine.names)
    if fine is None:
        raise AssertionError("without fine labels every name was refused")
    return fine.members({number for number in numbers.values() if number is not None})


def class_named(name: str, known: Sequence[str]) -> int:
    """The number of a class of the model, given by name or number as for ``class_members``.

    Args:
        name: Name or number.
        known: The names of all classes in the order of their numbers.

    Raises:
        ForgetSetError: The name is unknown or means several classes.
    """
    number = _find(name, known)
    if number is None:
        raise _unknown(name, "class", known)
    return number


def _find(name: str, known: Sequence[str]) -> int | None:
    """The number of a class given by name or by number.

    Raises:
        ForgetSetError: It may be the one or the other, and these are two classes; or it is the name of several.
    """
    if name.startswith(("name=", "#")) and _find_name(name, known) is None:
        return _find_as_told(name, known)
    by_name, by_number = _find_name(name, known), _numbered(name, known)
    if by_number is None or by_number == by_name:
        return by_name
    counted = by_name is None and all(_numbers(one, known) for one in known)
    others = {by_name} if by_name is not None else _with_number(int(name), known) if counted else {by_number}
    if by_number not in others or len(others) > 1:
        raise _either(name, by_number, next(iter(sorted(others - {by_number})), None), known)
    return by_number


def _find_as_told(name: str, known: Sequence[str]) -> int | None:
    """A class whose name follows ``name=``, or whose number follows ``#``."""
    return _find_name(name.removeprefix("name="), known) if name[0] != "#" else _numbered(name[1:], known)


def _numbered(text: str, known: Sequence[str]) -> int | None:
    """The number of a class that a text writes."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 and int(text) < len(known) else None


def _numbers(name: str, known: Sequence[str]) -> set[int]:
    """Numbers in a class name by which people may count the classes, from 0 or 1."""
    return {int(text) for text in re.findall(r"[0-9]{1,9}", name) if int(text) <= len(known)}


def _with_number(number: int, known: Sequence[str]) -> set[int]:
    """The classes whose names hold a number."""
    return {row for row, name in enumerate(known) if number in _numbers(name, known)}


def _either(text: str, number: int, named: int | None, known: Sequence[str]) -> ForgetSetError:
    """A number may be the place of one class, and stand in the name of another."""
    other = "" if named is None else f", or the class called {known[named]!r}"
    listed = ", ".join(f"#{row} is {name!r}" for row, name in enumerate(known[:4]))
    told = "" if named is None else f" or {_written(f'name={known[named]}')}"
    return ForgetSetError(
        f"{text!r} may be class number {number}, called {known[number]!r}{other}, because the names hold numbers "
        f"({listed}{', …' if len(known) > 4 else ''}); write #{number}{told}."
    )


def _written(name: str) -> str:
    """A class name as a request writes it."""
    return f'"{name}"' if "," in name else name


def _find_name(name: str, known: Sequence[str]) -> int | None:
    """The number of a class by its exact name, else by its name without regard to case and separators."""
    matches = [row for row, candidate in enumerate(known) if candidate == name]
    matches = matches or [row for row, candidate in enumerate(known) if fold(candidate) == fold(name)]
    if len(matches) > 1:
        numbers = ", ".join(f"#{row}" for row in matches)
        raise ForgetSetError(f"{name!r} is the name of {len(matches)} classes; give the number of one: {numbers}.")
    return matches[0] if matches else None


def _unknown(name: str, what: str, known: Sequence[str]) -> ForgetSetError:
    piece_of = next((one for one in known if "," in one and fold(name) in map(fold, one.split(","))), None)
    if piece_of is not None:
        return ForgetSetError(f'There is no {what} {name!r}; write names that have commas in quotes: "{piece_of}".')
    suggestion = hint(name, known)
    if suggestion:
        return ForgetSetError(f"There is no {what} {name!r}{suggestion}.")
    listed = ", ".join(known[:_LISTED]) + (", …" if len(known) > _LISTED else "")
    return ForgetSetError(f"There is no {what} {name!r}; there are {listed}.")
