"""What a search varies: of each setting a range or a list of choices, checked before anything runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from natmu.errors import NatmuError
from natmu.methods import method_named
from natmu.records.lineage import Forget
from natmu.records.recipe import Range

LR = Range(low=1e-5, high=0.3, log=True)
"""Where a learning rate is looked for by default: from below the published rates of unlearning to above them."""


@dataclass(frozen=True)
class Searched:
    """One method of a search.

    Attributes:
        label: Its name in the table.
        method: Name of the method.
        settings: Its settings that stay as they are.
        ranges: Its settings that are searched.
        forgets: What it serves, by text of the request.
    """

    label: str
    method: str
    settings: dict[str, Any]
    ranges: dict[str, Range]
    forgets: dict[str, Forget]


def is_whole(method: str, setting: str) -> bool:
    """Whether a setting of a method is a whole number."""
    annotation = method_named(method).Config.model_fields[setting].annotation
    return annotation is int or int in get_args(annotation)


def variations(method: str, settings: Mapping[str, Any], ranges: Mapping[str, Range]) -> Iterator[dict[str, Any]]:
    """Settings with each searched one at its ends or choices in turn, and the others at their first."""
    ends = _ends(method, ranges)
    first = {**settings, **{name: values[0][1] for name, values in ends.items()}}
    for name, values in ends.items():
        yield from (first | {name: value} for _, value in values)


def require_fit(method: str, settings: Mapping[str, Any], ranges: Mapping[str, Range]) -> None:
    """Refuse ranges of what is no setting of a method, or that leave the setting's own bounds.

    Args:
        method: Name of the method.
        settings: The settings that stay as they are.
        ranges: By the setting's name.

    Raises:
        ValueError: One sentence that begins with the path of the wrong key.
    """
    chosen = method_named(method)
    config = chosen.Config
    unknown = sorted(ranges.keys() - config.model_fields.keys())
    if unknown:
        raise ValueError(
            f"{unknown[0]} is not a setting of {method}; known here: {', '.join(sorted(config.model_fields))}"
        )
    for name, values in _ends(method, ranges).items():
        for place, value in values:
            try:
                chosen.configured({**settings, name: value})
            except NatmuError as error:
                raise ValueError(f"{name}.{place}: {error}") from None


def _ends(method: str, ranges: Mapping[str, Range]) -> dict[str, list[tuple[str, Any]]]:
    """Of each setting, the outermost values or choices by their place in the recipe."""
    return {name: list(range_.ends(whole=is_whole(method, name))) for name, range_ in ranges.items()}
