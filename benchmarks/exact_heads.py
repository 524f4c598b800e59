"""Heads on the features of a backbone that was trained on other classes: accuracy, seconds, and the budget."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np

from exact_common import MODEL, ORIGINAL, OTHERS, OWN, Setup, Step, cpu_seconds, drawn
from natmu.heads.errors import BudgetSpent, RefitNeeded
from natmu.heads.logistic import LogisticHead
from natmu.heads.ridge import RidgeHead
from natmu.heads.rows import rows_of
from natmu.opening import Source
from natmu.records.heads import FEATURES, read_features
from natmu.records.lineage import Trained
from natmu.records.settings import training_of
from natmu.types import FloatArray, IntArray
from natmu.verbs import Asked, train_run, unlearn_run

T = TypeVar("T")
Head = RidgeHead | LogisticHead

HEADS: Mapping[str, dict[str, Any]] = {
    "ridge": {"head": "ridge"},
    "logistic": {"head": "logistic"},
    "logistic-noise-10": {"head": "logistic", "noise": 10.0},
}
"""Settings that are not the defaults."""

BATCH, SINGLES, MOST_REFITS = 1000, 1000, 10
TIMES = 5
SPEED_SHAPE, SPEED_CLASSES = (100_000, 512), 10


def backbone(setup: Setup, seed: int) -> Step:
    """Train the backbone on its own classes."""
    return _network(setup, f"backbone-{seed}", OTHERS, seed)


def scratch(setup: Setup, seed: int) -> Step:
    """Train the same network from scratch on the classes of the heads."""
    return _network(setup, f"scratch-{seed}", OWN, seed)


def _network(setup: Setup, store: str, data: str, seed: int) -> Step:
    place = setup.empty(store, ORIGINAL)
    start = cpu_seconds()
    run = train_run(data=setup.file(data), model=MODEL, training=setup.training, seed=seed, place=place)
    seconds = cpu_seconds() - start
    return {"seconds": seconds, "test_acc": run.record.scores["test_acc"], "train_acc": run.record.scores["train_acc"]}


def head(setup: Setup, name: str, seed: int) -> Step:
    """Fit a head by the verb and forget a sample by the verb; then the same on arrays, many times."""
    store, settings = f"head-{name}-{seed}", HEADS[name]
    place, source = setup.empty(store, ORIGINAL), str(setup.place(f"backbone-{seed}").root / ORIGINAL)
    start = cpu_seconds()
    run = train_run(data=setup.file(OWN), model=None, training=settings, seed=seed, place=place, features_from=source)
    verb_seconds = cpu_seconds() - start
    lineage = run.record.lineage
    assert isinstance(lineage, Trained), "a head is trained"
    frozen = place.root / lineage.start.digest
    rows, labels = read_features(frozen / FEATURES).train, run.outputs().train.labels
    request = setup.listed(store, drawn(seed, "request to a head", len(rows), 1))
    start = cpu_seconds()
    unlearn_run(Asked(request, method="downdate", seed=seed), Source(run.path), setup.place(store))
    found = {
        "fit_verb_seconds": verb_seconds,
        "request_verb_seconds": cpu_seconds() - start,
        "extraction_seconds": type(run)(frozen).record.seconds,
        "test_acc": run.record.scores["test_acc"],
        "train_acc": run.record.scores["train_acc"],
        "shape": list(rows.shape),
    }
    recipe = lineage.recipe.model_dump(exclude={"head"})
    return found | on_arrays(rows, labels, recipe, int(labels.max()) + 1, seed) | budget(rows, labels, recipe, seed)


def on_arrays(rows: FloatArray, labels: IntArray, recipe: Mapping[str, Any], classes: int, seed: int) -> Step:
    """Seconds of a fit, of removing one sample and of removing a batch."""
    made, fit_seconds = timed(lambda: fitted(rows, labels, recipe, classes, seed), 1)
    order = drawn(seed, "order of removals", len(rows), len(rows))
    one, batch, kept = order[:1], order[:BATCH], order[BATCH:]
    _, one_seconds = timed(lambda: removed(made, rows[one], labels[one]), TIMES)
    after, batch_seconds = timed(lambda: removed(made, rows[batch], labels[batch]), TIMES)
    found: Step = {"fit": fit_seconds, "one": one_seconds, "batch": batch_seconds, "batch_refused": after is None}
    if isinstance(made, RidgeHead) and after is not None and len(kept):
        again = fitted(rows[kept], labels[kept], recipe, classes, seed)
        found["from_refit"] = float(np.abs(after.weights - again.weights).max() / np.abs(again.weights).max())
    return found


def budget(rows: FloatArray, labels: IntArray, recipe: Mapping[str, Any], seed: int) -> Step:
    """What random single removals spend, and how often the head is fitted again."""
    if "noise" not in recipe:
        return {}
    classes = int(labels.max()) + 1
    order = drawn(seed, "order of removals", len(rows), len(rows))
    now = LogisticHead.fit(rows, labels, num_classes=classes, seed=seed, **recipe)
    found: Step = {
        "budget": now.budget,
        "spent": {"0": now.spent},
        "refits": 0,
        "removals": 0,
        "before_first_refit": None,
    }
    for number in range(1, min(SINGLES, len(rows) // 2) + 1):
        one = order[number - 1 : number]
        try:
            now = now.remove(rows[one], labels[one])
        except BudgetSpent:
            found["before_first_refit"] = found["before_first_refit"] or number - 1
            found["refits"] += 1
            if found["refits"] > MOST_REFITS:
                break
            kept = order[number:]
            now = LogisticHead.fit(rows[kept], labels[kept], num_classes=classes, seed=seed + number, **recipe)
        found["removals"] = number
        if not found["refits"] and number in (1, 10, 100, SINGLES):
            found["spent"][str(number)] = now.spent
    return found


def speed(setup: Setup, kind: str) -> Step:  # noqa: ARG001 - as all steps
    """Seconds on made-up features of the size that the documentation speaks of."""
    rng = np.random.default_rng(0)
    features = rng.standard_normal(SPEED_SHAPE, np.float32)
    labels = (features @ rng.standard_normal((SPEED_SHAPE[1], SPEED_CLASSES))).argmax(axis=1)
    recipe = training_of(HEADS[kind]).model_dump(exclude={"head"})
    return {"shape": list(SPEED_SHAPE)} | on_arrays(rows_of(features), labels, recipe, SPEED_CLASSES, 0)


def fitted(rows: FloatArray, labels: IntArray, recipe: Mapping[str, Any], classes: int, seed: int) -> Head:
    """A head on arrays."""
    if "noise" in recipe:
        return LogisticHead.fit(rows, labels, num_classes=classes, seed=seed, **recipe)
    return RidgeHead.fit(rows, labels, num_classes=classes, **recipe)


def removed(made: Head, rows: FloatArray, labels: IntArray) -> Head | None:
    """The head without these rows, its weights computed; None where it refuses."""
    try:
        after = made.remove(rows, labels)
    except RefitNeeded:
        return None
    _ = after.weights
    return after


def timed(work: Callable[[], T], times: int) -> tuple[T, dict[str, float]]:
    """What some work gives, and the seconds that it takes."""
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        result = work()
        seconds.append(time.perf_counter() - start)
    return result, {"min": min(seconds), "median": statistics.median(seconds), "max": max(seconds), "n": times}
