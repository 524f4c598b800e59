"""What is not a number where one is wanted, or is one where none is.

Python takes ``true`` for 1 and ``1_0`` for 10, and settings would take 1 for ``true``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import PydanticCustomError


def require_numbers(value: object, annotation: object) -> None:
    """Refuse a truth value in a field that takes numbers and no truth values, and a text in it that is none.

    A number is refused in a field that takes truth values alone. Items of lists are looked at too.

    Args:
        value: What is given.
        annotation: Type of the field.

    Raises:
        PydanticCustomError: There is one.
    """
    kind = _number_kind(annotation)
    if kind and any(isinstance(item, bool) or _is_underscored(item, annotation) for item in _items(value)):
        raise PydanticCustomError(f"{kind}_type", "write a number")
    if _is_truth(annotation) and any(type(item) in (int, float) or item in ("0", "1") for item in _items(value)):
        raise PydanticCustomError("bool_type", "write true or false")


def _is_truth(annotation: object) -> bool:
    """Whether a type takes truth values alone."""
    leaves = {*_leaves(annotation)}
    return bool in leaves and leaves <= {bool, type(None)}


def _is_underscored(item: object, annotation: object) -> bool:
    """Whether it is a text such as ``1_0``, where no texts are wanted."""
    return isinstance(item, str) and "_" in item and str not in _leaves(annotation)


@lru_cache(maxsize=4096)
def _number_kind(annotation: object) -> Literal["int", "float"] | None:
    """Which numbers a type takes that takes no truth values; None for all other types."""
    leaves = {*_leaves(annotation)}
    if leaves & {bool, Any, object} or any(
        not isinstance(leaf, type) or issubclass(leaf, BaseModel) for leaf in leaves
    ):
        return None
    return "float" if float in leaves else "int" if int in leaves else None


def _leaves(annotation: object) -> Iterator[object]:
    """The types that a type is made of."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        yield from map(type, inner)
    elif not inner:
        yield annotation
    else:
        own = hasattr(annotation, "__metadata__")  # what stands beside the type is no type
        for part in inner[:1] if own else inner:
            yield from () if part is Ellipsis else _leaves(part)


def _items(value: object) -> Iterator[object]:
    """A value, or what is in it."""
    if isinstance(value, Mapping):
        value = [*value.values()]
    if isinstance(value, list | tuple):
        for item in value:
            yield from _items(item)
    else:
        yield value
