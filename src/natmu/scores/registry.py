"""The scores by name: ours, and those of installed packages.

A package brings scores of its own through the entry-point group ``natmu.scores``: the name of an entry is the score's,
its value is ``package.module:object``, a ``natmu.scores.base.Score``. Nothing of such a package is imported
before scores are asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

from natmu import plugins
from natmu.errors import SettingError, hint
from natmu.plugins import PlugIn
from natmu.scores.base import Score
from natmu.scores.basic import SCORE_NAMES
from natmu.scores.builtin import OURS
from natmu.scores.catalogue import CATALOGUED, row_of
from natmu.scores.panel import LEVELS, Level

GROUP = "natmu.scores"
"""The entry-point group of scores."""

STORED = {"predictions", "retrained"}
"""What a score of a study's table may need: the predictions of the model and of retrained ones are there."""


@cache
def plug_ins() -> tuple[PlugIn, ...]:
    """The scores of installed packages, by name; none of them is imported."""
    return plugins.plug_ins(GROUP)


def load_plug_in(plug_in: PlugIn) -> Score:
    """A score that an installed package brings.

    Raises:
        SettingError: It cannot be imported, is no score, or its name is taken or not that of its entry.
    """

    def fault(loaded: object) -> str | None:
        if not isinstance(loaded, Score):
            return f"is not a score: {plug_in.target} must be a natmu.scores.Score"
        return plug_in.misnamed(loaded, "row")

    score = plug_in.load("Score", CATALOGUED, fault)
    assert isinstance(score, Score), "it was checked"
    return score


def installed() -> tuple[dict[str, Score], list[tuple[str, str]]]:
    """The scores of installed packages by name, and the name of each that cannot be used with a sentence on why."""
    scores, faults = {}, []
    for plug_in in plug_ins():
        try:
            scores[plug_in.name] = load_plug_in(plug_in)
        except SettingError as error:
            faults.append((plug_in.name, str(error)))
    return scores, faults


def plug_in_catalogue() -> tuple[list[dict[str, Any]], list[str]]:
    """The rows of the scores of installed packages as plain values, and a sentence on each that cannot be used."""
    packages = {plug_in.name: plug_in.package for plug_in in plug_ins()}
    scores, faults = installed()
    return [row_of(score.row, packages[name]) for name, score in scores.items()], [why for _, why in faults]


def outside_scores(level: Level, extra: Sequence[Score] = ()) -> tuple[list[Score], dict[str, str]]:
    """The scores of an audit that are not ours.

    Args:
        level: Level of the audit; those of installed packages up to it are taken.
        extra: Scores that are given as objects, of any level.

    Returns:
        The scores, and for each that is installed and cannot be used a sentence that says why.

    Raises:
        SettingError: An object is no score, or its name is taken.
    """
    if isinstance(extra, str) or not isinstance(extra, Iterable):
        raise SettingError(f"scores must be a list of scores, not {type(extra).__name__}; leave it out for none.")
    known, faults = installed()
    for one in extra:
        if not isinstance(one, Score):
            raise SettingError(f"{one!r:.80} is not a score; make it one with natmu.scores.score.")
        if one.name in CATALOGUED or known.get(one.name, one) is not one:
            raise SettingError(f"There is another score {one.name!r}; give this one a name of its own.")
        known[one.name] = one
    levels = LEVELS[: LEVELS.index(level) + 1]
    taken = [one for one in known.values() if one.row.level in levels or any(one is other for other in extra)]
    return taken, {name: why for name, why in faults if name not in CATALOGUED and name not in known}


def score_named(name: str) -> Score:
    """The score of this name, ours or of an installed package.

    Raises:
        SettingError: There is none that is computed from predictions of one model at a time, or the package that
            brings it is broken.

    Examples:
        >>> score_named("forget_acc").name
        'forget_acc'
    """
    if name in OURS:
        return OURS[name]
    for plug_in in plug_ins():
        if plug_in.name == name:
            return load_plug_in(plug_in)
    names = [*OURS, *(plug_in.name for plug_in in plug_ins())]
    raise SettingError(f"There is no score {name!r}{hint(name, names)}; natmu scores lists all of them.")


def score_of_table(name: str) -> Score:
    """The score of this name that a study's table can have beyond those that it always has.

    Raises:
        SettingError: A table cannot have it, there is none, or the package that brings it is broken.

    Examples:
        >>> score_of_table("kl_forget").name
        'kl_forget'
    """
    known = {one.name: one for one in OURS.values() if _fits_table(one)}
    if name in known:
        return known[name]
    brought = [plug_in.name for plug_in in plug_ins() if plug_in.name not in CATALOGUED]
    if name in brought and _fits_table(found := score_named(name)):
        return found
    raise SettingError(
        f"{name!r} is not a score that a table can have{hint(name, [*known, *brought])}; natmu scores lists them, of "
        "the level quick."
    )


def _fits_table(score: Score) -> bool:
    """Whether a score takes what a study has of each run: its predictions, and those of retrained models."""
    always = (*SCORE_NAMES, "avg_gap")
    return score.row.level == "quick" and set(score.row.needs) <= STORED and score.name not in always
