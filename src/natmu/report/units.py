"""What the columns of a study are called, and what they are measured in."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from importlib.resources import files

FRACTION = "retrain_fraction"
"""The fraction of retraining's time, shown in percent."""

WORDS = {
    "%": "in percent",
    "pp": "in percentage points",
    "nats": "in nats",
    "s": "in seconds",
    "steps": "in steps",
    "passes": "in passes over the training set",
    "ratio": "as a ratio",
    "0-1": "from 0 to 1",
    "0-1.41": "from 0 to 1.41",
}
"""Every unit of the catalogue of scores, before a list of names."""

UNKNOWN = "in units that are not known here, since the packages that bring the scores are not installed"


def unit_of(score: str) -> str:
    """The unit in which a column is stored, as the catalogue or an installed package has it; empty if neither has."""
    known = _units()
    if score in known:
        return known[score]
    from natmu.scores.registry import installed  # loads what computes, and is for columns that are not ours

    return {name: brought.row.unit for name, brought in installed()[0].items()}.get(score, "")


def name_of(score: str, score_on: str) -> str:
    """A column's name, which says on which data unseen accuracy was measured: ``test`` or ``holdout``."""
    return "holdout_acc" if score == "test_acc" and score_on == "holdout" else score


def header_of(score: str, score_on: str) -> str:
    """What heads a column of a table."""
    return f"{score} %" if score == FRACTION else name_of(score, score_on)


def decimals_of(score: str) -> int:
    """Decimals that a column has at most: two of percent, points and seconds, three of passes, four of smaller units.

    Passes are often the same for all seeds, so that their spread does not limit the digits.
    """
    if unit_of(score) == "passes":
        return 3
    return 2 if score == FRACTION or unit_of(score) in ("%", "pp", "s") else 4


def units_in_words(columns: Sequence[str], score_on: str) -> str:
    """Say in one clause per unit what the columns are measured in; seconds say it themselves."""
    named: dict[str, list[str]] = {}
    for score in (one for one in columns if one != "seconds"):
        named.setdefault("%" if score == FRACTION else unit_of(score), []).append(name_of(score, score_on))
    return "; ".join(f"{_in_words(unit)}: {', '.join(names)}" for unit, names in named.items())


def _in_words(unit: str) -> str:
    """A unit before a list of names."""
    return WORDS.get(unit, f"in {unit}" if unit else UNKNOWN)


@cache
def _units() -> dict[str, str]:
    """Units by score, read as text: the catalogue's package would load scikit-learn."""
    stored = files("natmu").joinpath("scores/catalogue/scores.json").read_text(encoding="utf-8")
    return {row["name"]: row["unit"] for row in json.loads(stored)} | {
        "seconds": "s",
        FRACTION: "ratio",
        "passes": "passes",
    }
