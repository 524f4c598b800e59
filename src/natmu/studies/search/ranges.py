"""What a search varies: of each setting a range or a list of choices, checked before anything runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from pydantic import Field, model_validator

from natmu.errors import NatmuError
from natmu.methods import method_named
from natmu.records.lineage import Forget
from natmu.types import Settings

Objective = Literal["retrained", "no-retrain"]


class SearchSettings(Settings):
    """How the settings of a recipe's methods are searched; every method has the same number of trials."""

    trials: int = Field(ge=1, le=100_000, description="trials of each method, failed ones included")
    objective: Objective = Field(
        description="closeness to retrained models, or what can be known of it without any; both on the holdout"
    )
    seed: int = Field(0, ge=0, description="of the settings that are tried")


class Range(Settings):
    """Where the values of one setting are looked for: from ``low`` to ``high``, or a list of choices."""

    low: float | None = Field(None, description="lowest value")
    high: float | None = Field(None, description="highest value")
    log: bool = Field(False, description="draw on a logarithmic scale")
    choices: tuple[Any, ...] | None = Field(None, min_length=1, description="the values, instead of low and high")

    @model_validator(mode="before")
    @classmethod
    def _a_list_is_choices(cls, value: object) -> object:
        return {"choices": value} if isinstance(value, list | tuple) else value

    @model_validator(mode="after")
    def _is_one_of_both(self) -> Range:
        if self.choices is not None:
            if self.low is not None or self.high is not None or self.log:
                raise ValueError("give either low and high or a list of choices")
        elif self.low is None or self.high is None:
            raise ValueError("give low and high, or a list of choices")
        elif self.low > self.high:
            raise ValueError(f"low must not be above high, and {self.low:g} is above {self.high:g}")
        elif self.log and self.low <= 0:
            raise ValueError(f"a logarithmic range needs low above 0, and it is {self.low:g}")
        return self

    def ends(self, *, whole: bool) -> Iterator[tuple[str, Any]]:
        """Its outermost values by their place in the recipe, or all choices; whole numbers where they must be."""
        if self.choices is not None:
            yield from ((str(number), choice) for number, choice in enumerate(self.choices))
        else:
            for name, value in (("low", self.low), ("high", self.high)):
                yield name, int(value) if whole and value is not None and value.is_integer() else value


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
    config = method_named(method).Config
    unknown = sorted(ranges.keys() - config.model_fields.keys())
    if unknown:
        raise ValueError(
            f"{unknown[0]} is not a setting of {method}; known here: {', '.join(sorted(config.model_fields))}"
        )
    for name, values in _ends(method, ranges).items():
        for place, value in values:
            try:
                config.parse({**settings, name: value}, where=method)
            except NatmuError as error:
                raise ValueError(f"{name}.{place}: {error}") from None


def _ends(method: str, ranges: Mapping[str, Range]) -> dict[str, list[tuple[str, Any]]]:
    """Of each setting, the outermost values or choices by their place in the recipe."""
    return {name: list(range_.ends(whole=is_whole(method, name))) for name, range_ in ranges.items()}
