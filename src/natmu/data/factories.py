"""Data sets that a function of the user's own makes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
from torch import Tensor

from natmu.data.arrays import Parts
from natmu.data.class_order import require_same_classes
from natmu.data.datasets import from_dataset
from natmu.data.images import ImageData
from natmu.data.own import OwnParts, Samples
from natmu.errors import FAULTS, DataError, quoted, some
from natmu.functions import current_directory_first, function_named
from natmu.types import IntArray

ROLES = ("train", "test", "holdout")


def load_factory(name: str) -> Parts:
    """Call a function, and read the data sets that it returns.

    Args:
        name: ``package.module:function``. It is called without arguments and returns a pair (training set, test set),
            or a mapping with ``train``, ``test`` and, where there is one, ``holdout``; each as ``from_dataset`` takes
            it.

    Raises:
        DataError: It cannot be imported, fails, or returns something else.
    """
    given = _made(name)
    train = from_dataset(given["train"])
    others = {role: _beside(train, from_dataset(part), role) for role, part in given.items() if role != "train"}
    own = None
    if not any(_is_array_like(given[role]) for role in ("train", "test")):
        own = FactoryParts(name, given=given)
    return Parts(train, others["test"], others.get("holdout"), own)


class FactoryParts(OwnParts):
    """What a user's function returned. Pickled, it is the function's name, which is called again where it is needed.

    Args:
        name: ``package.module:function``.
        rows: Positions of the training and of the test samples, int64; all of a part where None.
        given: What it returned; it is called when that is first needed if None.
    """

    def __init__(
        self,
        name: str,
        rows: tuple[IntArray | None, IntArray | None] = (None, None),
        given: Mapping[str, Any] | None = None,
    ) -> None:
        self._name, self._rows = name, rows
        if given is not None:
            self.__dict__["_given"] = given

    @cached_property
    def _given(self) -> Mapping[str, Any]:
        return _made(self._name)

    @property
    def _chosen(self) -> OwnParts:
        return OwnParts(self._given["train"], self._given["test"]).at(*self._rows)

    @cached_property
    def train(self) -> Samples:
        """The training samples: the user's own object, or a subset of it."""
        return self._chosen.train

    @cached_property
    def test(self) -> Samples:
        """The test samples, likewise."""
        return self._chosen.test

    def at(self, train: IntArray | None = None, test: IntArray | None = None) -> OwnParts:
        """The samples at these positions; all of a part where None."""
        pairs = zip(self._rows, (train, test), strict=True)
        first, second = (new if old is None else old if new is None else old[new] for old, new in pairs)
        return FactoryParts(self._name, (first, second), self.__dict__.get("_given"))

    def __reduce__(self) -> tuple[Any, ...]:
        return FactoryParts, (self._name, self._rows)


def _made(name: str) -> dict[str, Any]:
    """What a function returns, by what it is for."""
    function = function_named(name, DataError)
    try:
        with current_directory_first():
            made = function()
    except FAULTS as error:
        raise DataError(f"{name} failed ({quoted(error)}); it is called without arguments.") from error
    return _by_role(made, name)


def _by_role(made: object, name: str) -> dict[str, Any]:
    """What a function returned, by what it is for."""
    if isinstance(made, tuple | list) and len(made) == 2 and not isinstance(made[0], Tensor | np.ndarray):
        return dict(zip(ROLES, made, strict=False))
    if isinstance(made, Mapping) and {"train", "test"} <= {*made} <= {*ROLES}:
        return dict(made)
    what = f"a mapping with {some([*made], 10)}" if isinstance(made, Mapping) else f"a {type(made).__name__}"
    raise DataError(
        f"{name} returned {what}; it must return a pair (training set, test set), or a mapping with train, test and "
        "perhaps holdout."
    )


def _beside(train: ImageData, part: ImageData, role: str) -> ImageData:
    """Another part with the classes of the training data."""
    require_same_classes(train.class_names, part.class_names, f"the {role} data")
    highest = int(part.labels.max())
    if highest >= train.num_classes:
        raise DataError(
            f"The {role} data has the label {highest}, and the training data has {train.num_classes} classes. Give "
            "training samples of each class, or leave the others out of the test."
        )
    return replace(part, class_names=train.class_names)


def _is_array_like(part: object) -> bool:
    """Whether a part has no items of its own: natmu hands them out then."""
    return isinstance(part, ImageData | tuple)
