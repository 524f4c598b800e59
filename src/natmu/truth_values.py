"""Truth values where a number is wanted: ``true`` is none, though Python takes it for 1."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import PydanticCustomError


def require_numbers(value: object, annotation: object) -> None:
    """Refuse a truth value in a field that takes numbers and no truth values, also as an item of a list.

    Args:
        value: What is given.
        annotation: Type of the field.

    Raises:
        PydanticCustomError: There is one.
    """
    kind = _number_kind(annotation)
    if kind and any(isinstance(item, bool) for item in _items(value)):
        raise PydanticCustomError(f"{kind}_type", "write a number")


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
