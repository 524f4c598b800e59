"""The shapes of what is read from JSON files, so that a damaged file is refused before anything is made of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Shape = Any
"""A type, None, a tuple of alternatives, a list whose one entry all entries have, or a dictionary of required keys."""

NUMBER = (int, float)


@dataclass(frozen=True)
class Values:
    """A dictionary with any keys, all of whose values have one shape."""

    of: Shape


@dataclass(frozen=True)
class Pair:
    """A list of two values of one shape."""

    of: Shape


def fits(value: object, shape: Shape) -> bool:
    """Whether a value has a shape; further keys do no harm."""
    if isinstance(shape, tuple):
        return any(fits(value, one) for one in shape)
    if isinstance(shape, list):
        return isinstance(value, list) and all(fits(one, shape[0]) for one in value)
    if isinstance(shape, Pair):
        return isinstance(value, list) and len(value) == 2 and all(fits(one, shape.of) for one in value)
    if isinstance(shape, Values):
        return isinstance(value, dict) and all(fits(one, shape.of) for one in value.values())
    if isinstance(shape, dict):
        return isinstance(value, dict) and all(key in value and fits(value[key], one) for key, one in shape.items())
    return value is None if shape is None else isinstance(value, shape)


COLUMN = {"mean": NUMBER, "std": (*NUMBER, None), "values": [(*NUMBER, None)]}
REPLICATE = {"split": int, "training": int, "unlearning": (int, None), "run": str, "digest": str}
ROW = {
    "scenario": str,
    "method": str,
    "n": int,
    "failed": (str, None),
    "log": (str, None),
    "replicates": [REPLICATE],
}
COMPARED = {
    "scenario": str,
    "score": str,
    "best": str,
    "method": str,
    "difference": (*NUMBER, None),
    "interval": (Pair(NUMBER), None),
    "n": int,
    "within_noise": (bool, None),
}
RANKS = {
    "scenario": str,
    "score": str,
    "n": int,
    "agreement": (*NUMBER, None),
    "methods": Values(dict.fromkeys(("mean", "best", "worst", "first"), NUMBER)),
}
STUDY = {
    "name": str,
    "score_on": str,
    "columns": [str],
    "rows": [ROW],
    "comparisons": [COMPARED],
    "ranks": [RANKS],
}
TRAINING = {
    "epochs": int,
    "optimizer": str,
    "lr": NUMBER,
    "schedule": str,
    "weight_decay": NUMBER,
    "batch_size": int,
    "augment": bool,
}
DATA = {"source": str, "image_size": (int, None), "train_size": (int, None), "holdout": bool}
RECIPE = {
    "data": DATA,
    "model": str,
    "training": TRAINING,
    "retrain": {"init": str},
    "forget": [str],
    "methods": [{"method": str, "label": (str, None), "settings": dict, "grid": Values(list)}],
    "seeds": {kind: [int] for kind in ("split", "training", "unlearning")},
    "audit": (str, None),
}
"""What is told of a recipe."""
FACTS = {"recipe": RECIPE, "hardware": Values(str), "versions": Values(str)}
"""What the page of a study shows beyond its tables."""
VERDICT = {
    "interval": (Pair(NUMBER), None),
    "p_value": (*NUMBER, None),
    "distinguishable": bool,
    "sees_original": (bool, None),
    "sentence": str,
}
SCORE = {
    "value": NUMBER,
    "retrained": ([NUMBER], None),
    "original": (*NUMBER, None),
    "verdict": (VERDICT, None),
}
MODELS = {"retrained": [str]}
AUDIT = {"scores": Values(SCORE), "verdict": str, "missing": Values(str), "level": str, "models": MODELS}
AUDITS = [{"scenario": str, "label": str, "failed": str, "log": (str, None)}, {"scenario": str, "label": str, **AUDIT}]
"""What an entry of a study's ``audit.json`` can be."""
RECORD = {"spec": {"kind": str}, "digest": str, "scores": Values(NUMBER), "seconds": NUMBER}
"""What is read of any run; of runs with a page also the following."""
ORIGINAL = {
    "kind": str,
    "data": DATA,
    "model": str,
    "precision": str,
    "training": TRAINING | {"warmup_epochs": NUMBER},
}
UNLEARNED = {
    "forget": {"spec": str, "scenario": str, "classes": [int], "count": int, "digest": str},
    "method": str,
    "settings": dict,
    "batch_size": int,
    "seed": int,
    "precision": str,
}
MADE_ON = {"versions": Values(str), "hardware": Values(str), "finished": str}


def is_study(value: object) -> bool:
    """Whether a value is a study's table."""
    return fits(value, STUDY) and _has_columns(value)


def is_record(value: object) -> bool:
    """Whether a value is the record of a run."""
    return fits(value, RECORD) and _has_page(value)


def _has_page(record: Any) -> bool:  # noqa: ANN401 - its shape is known by now
    """Whether a run that can have a page has what is shown there."""
    spec = record["spec"]
    if spec["kind"] == "unlearn":
        return fits(spec, UNLEARNED) and _is_original(spec.get("original")) and fits(record, MADE_ON)
    return spec["kind"] not in ("train", "import") or (_is_original(spec) and fits(record, MADE_ON))


def _is_original(spec: Any) -> bool:  # noqa: ANN401 - whatever a file holds
    """Whether a value is the spec of an original, which has no seed if it was trained elsewhere."""
    return fits(spec, ORIGINAL) and (spec["kind"] == "import" or fits(spec, {"seed": int}))


def _has_columns(study: Any) -> bool:  # noqa: ANN401 - its shape is known by now
    """Whether each row has each column, with a value per replicate."""
    return all(fits(row, dict.fromkeys(study["columns"], (COLUMN, None))) for row in study["rows"])
