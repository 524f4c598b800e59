"""Data sets that a function of the user's own makes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from natmu.data.arrays import Parts
from natmu.data.datasets import from_dataset
from natmu.data.images import ImageData
from natmu.data.own import OwnParts
from natmu.errors import FAULTS, DataError, quoted
from natmu.functions import current_directory_first, function_named

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
    function = function_named(name, DataError)
    try:
        with current_directory_first():
            made = function()
    except FAULTS as error:
        raise DataError(f"{name} failed ({quoted(error)}); it is called without arguments.") from error
    given = _by_role(made, name)
    train = from_dataset(given["train"])
    others = {role: from_dataset(part, train.class_names) for role, part in given.items() if role != "train"}
    own = None
    if not any(_is_array_like(given[role]) for role in ("train", "test")):
        own = OwnParts(given["train"], given["test"])
    return Parts(train, others["test"], others.get("holdout"), own)


def _by_role(made: object, name: str) -> dict[str, Any]:
    """What a function returned, by what it is for."""
    if isinstance(made, tuple | list) and len(made) == 2 and not isinstance(made[0], Tensor | np.ndarray):
        return dict(zip(ROLES, made, strict=False))
    if isinstance(made, Mapping) and {"train", "test"} <= {*made} <= {*ROLES}:
        return dict(made)
    what = f"a mapping with {', '.join(map(str, made))}" if isinstance(made, Mapping) else f"a {type(made).__name__}"
    raise DataError(
        f"{name} returned {what}; it must return a pair (training set, test set), or a mapping with train, test and, "
        "where there is one, holdout."
    )


def _is_array_like(part: object) -> bool:
    """Whether a part has no items of its own: natmu hands them out then."""
    return isinstance(part, ImageData | tuple)
