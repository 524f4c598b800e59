"""What a row of the catalogue of scores says."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from natmu.scores.catalogue.papers import Source

Level = Literal["quick", "standard", "full"]
Side = Literal["both", "above", "below"]
Question = Literal["forgotten", "kept", "neither"]

NEEDS = {
    "predictions": "stored predictions of the model that is judged",
    "retrained": "stored predictions of one retrained model or more",
    "untrained": "stored predictions of a model with random initial weights",
    "original": "the original model's predictions, to know what it had learned",
    "weights": "the weights themselves",
    "inside": "the models themselves, for features and predictions that are not stored",
    "training": "training steps after unlearning",
    "references": "stored predictions of models that were not trained on the samples in question",
    "shadows": "stored predictions of models trained on random halves of the data, and which half each one saw",
    "many unlearned": "the method run many times, and the stored predictions of each result",
    "many retrained": "stored predictions of many retrained models",
}
"""What a score may need, in words."""


@dataclass(frozen=True)
class ScoreInfo:
    """All there is to know of one score before it is used.

    Attributes:
        name: Its name everywhere: in Python, on the command line, in JSON and in tables.
        family: Title of the family that explains it.
        level: The first level of an audit that has it.
        needs: Keys of ``NEEDS``.
        cost: How many models it takes beside the one that is judged.
        unit: Unit, or the range where there is no unit.
        low: The least value that it can have; None where there is none.
        high: The largest.
        measures: What it says, in a sentence.
        formula: How it is computed.
        source: Where it comes from; None where it is nobody's.
        baseline: What retrained models score: nothing can be expected to come closer.
        original: What the original scores, on which nothing was unlearned.
        side: On which side of the baseline a value makes the unlearned model distinguishable.
        identical: Its value where the model and the models that it is compared with are one and the same: 0 for a
            distance; None where it compares no models, or where this value is not fixed.
        question: Which part of the verdict it belongs to: whether the forget set is ``forgotten``, whether the rest is
            ``kept``, or ``neither``, because it mixes both or says nothing of either.
        remembers: Of a score that may leave the baseline on both sides, the side on which a model lies that remembers
            the forget set; None where that is not fixed.
        called_mia_by: Who reports this number as "MIA", without saying which.
        published: What the code of its papers computes otherwise, and how far that is from this on made-up models.
        about: What to know before choosing it, for a score whose family is not one of ours.

    Examples:
        >>> row = score_named("forget_acc").row
        >>> row.level, row.unit, row.low, row.high
        ('quick', '%', 0, 100)
    """

    name: str
    family: str
    level: Level
    needs: tuple[str, ...]
    cost: str
    unit: str
    low: float | None
    high: float | None
    measures: str
    formula: str
    source: Source | None
    baseline: str
    original: str
    side: Side = "both"
    identical: float | None = None
    question: Question = "neither"
    remembers: Literal["above", "below"] | None = None
    called_mia_by: tuple[str, ...] = ()
    published: str = ""
    about: str = ""


PARTS = {"retain": "the retain set", "forget": "the forget set", "test": "the test set"}
RATES = {"1": "1 in 100", "0.1": "1 in 1,000"}
ALONE, ONE_RETRAINED = "no other model", "1 retrained model"
CHANCE = "about 0.5"


def each(template: ScoreInfo, names: dict[str, str]) -> tuple[ScoreInfo, ...]:
    """One row per key: it replaces ``*`` in the name, and its value ``*`` in what is measured."""
    return tuple(
        replace(template, name=template.name.replace("*", key), measures=template.measures.replace("*", words))
        for key, words in names.items()
    )


def by_part(scores: tuple[ScoreInfo, ...]) -> tuple[ScoreInfo, ...]:
    """Scores of the forget set say whether it is forgotten, the same scores of other parts whether these are kept."""
    return tuple(replace(one, question="forgotten" if "_forget" in one.name else "kept") for one in scores)


def seen_in_forget_set(scores: tuple[ScoreInfo, ...]) -> tuple[ScoreInfo, ...]:
    """Distances from retraining that tell the original on the forget set, and there alone."""
    return tuple(score if "_forget" in score.name else replace(score, original="near the baseline") for score in scores)
