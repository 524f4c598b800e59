"""What is wrong with settings, in a sentence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pydantic import BaseModel, ValidationError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_SHOWN, _LONGEST_PATH = 5, 160

CHOICE = "one of: "
"""Begins the name of a member of a union, which has no place in the path of a setting."""

WANTED = {
    "bool": "write true or false",
    "dict": "write a mapping, such as {key: value}",
    "float": "write a number",
    "int": "write a whole number",
    "list": "write a list, such as [a, b]",
    "string": "write a text, with quotes where it looks like a number",
}
"""What to write where a value is of the wrong kind, by the first word of Pydantic's name of the fault."""
WANTED |= {"model": WANTED["dict"], "tuple": WANTED["list"]}


def explained(error: ValidationError, where: str, settings: type[BaseModel]) -> str:
    """A validation error as one sentence.

    Args:
        error: The error.
        where: What the values belong to; empty for nothing in particular.
        settings: What was to be built.
    """
    faults, known = [], ""
    found = error.errors()
    for fault in found:
        if fault["type"] == "too_short" and any(_is_inside(other["loc"], fault["loc"]) for other in found):
            continue  # it is too short without its faulty items, which are told of
        path = ".".join(str(step) for step in fault["loc"] if not str(step).startswith(CHOICE)) or "the settings"
        if fault["type"] == "extra_forbidden":
            faults.append(f"{path[:_LONGEST_PATH]} is not a setting")
            if len(fault["loc"]) == 1:  # their names stand in the sentence once, whatever the number of faults
                known = f"; known here: {', '.join(sorted(settings.model_fields)) or 'none'}"
        else:
            faults.append(f"{path[:_LONGEST_PATH]}: {_wanted(fault)}")
    more = f"; and {len(faults) - _SHOWN:,} more such faults" if len(faults) > _SHOWN else ""
    prefix = f"{where}: " if where else ""
    told = f"{'; '.join(faults[:_SHOWN]).rstrip('.')}{more}{known}"
    return " ".join(f"{prefix}{told}.".split())


def _wanted(fault: ErrorDetails) -> str:
    """What a setting accepts, and what it got instead."""
    kind, _, what = fault["type"].partition("_")
    message = fault["msg"].removeprefix("Value error, ").rstrip(".")
    if what in ("type", "parsing") and kind in WANTED:
        message = WANTED[kind]
    told = fault["type"] == "missing" or (fault["type"] == "value_error" and isinstance(fault["input"], Mapping))
    shown = "" if told else f" (got {str(fault['input'])[:80]!r})"
    return f"{message[:1].lower()}{message[1:]}{shown}"


def _is_inside(path: tuple[int | str, ...], outer: tuple[int | str, ...]) -> bool:
    """Whether a path leads into what another one names."""
    return len(path) > len(outer) and path[: len(outer)] == outer
