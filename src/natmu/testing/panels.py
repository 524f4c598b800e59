"""Made-up panels of predictions for the conformance suite of scores, and the changes that no score may notice."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from natmu.scores import Panel, Shadows, margin
from natmu.types import Part, Predictions

PARTS = ("retain", "forget", "test", "forget_test", "holdout", "before", "corrected")
"""The parts in their order; ``forget_test`` is there where whole classes are forgotten."""

SHADOWS = 24

Logits = npt.NDArray[Any]


@dataclass(frozen=True)
class World:
    """Samples of their own difficulty, and models that were trained on some of them.

    Attributes:
        rng: Of everything that is drawn.
        classes: How many classes there are.
        labels: Of each part.
        difficulty: The margin of each sample for a model that was not trained on it, of each part.
    """

    rng: np.random.Generator
    classes: int
    labels: dict[str, npt.NDArray[np.int64]]
    difficulty: dict[str, npt.NDArray[np.float64]]

    @classmethod
    def drawn(cls, seed: int, classes: int, counts: Mapping[str, int]) -> World:
        """A world with so many classes and samples."""
        rng = np.random.default_rng(seed)
        labels = {name: rng.integers(0, classes, count) for name, count in counts.items()}
        return cls(rng, classes, labels, {name: rng.normal(2, 1.5, count) for name, count in counts.items()})

    def model(self, *members: str, lift: float = 3.0) -> Predictions:
        """A model that was trained on some parts, which lifts the logit of the true class there.

        Its holdout is every second test sample, and the right label of each forget sample is that of the next class.
        """
        parts = {name: self._part(name, lift * (name in members)) for name in PARTS if name in self.labels}
        holdout = parts["test"].take(np.arange(0, len(parts["test"]), 2))
        right = (self.labels["forget"] + 1) % self.classes
        return Predictions(**parts, holdout=holdout, corrected=replace(parts["forget"], labels=right))

    def _part(self, name: str, lift: float) -> Part:
        labels = self.labels[name]
        logits = self.rng.normal(0, 0.5, (len(labels), self.classes))
        logits[np.arange(len(labels)), labels] += self.difficulty[name] + lift
        return Part(logits.astype(np.float32), labels)

    def shadows(self, model: Predictions) -> Shadows:
        """Shadow models on halves of the forget set and as many test samples, which unlearn what they had of it."""
        count = min(len(self.labels["forget"]), len(self.labels["test"]))
        non_members = np.arange(count, dtype=np.int64)
        pool = np.concatenate([margin(model.forget), margin(model.test)[non_members]])
        member = np.stack([self.rng.permutation(np.arange(len(pool)) % 2 == 0) for _ in range(SHADOWS)])
        before, after = (pool + self.rng.normal(0, 1, member.shape) for _ in range(2))
        return Shadows(before + 3 * member, after, member, non_members)


@cache
def panel_of(
    seed: int = 0, classes: int = 5, retrained: int = 4, forget: int = 60, test: int = 1000, forget_test: int = 0
) -> Panel:
    """A panel with all that a score can need, of a second request: an unlearned model and all that it is compared with.

    Args:
        seed: Of everything in it.
        classes: How many there are.
        retrained: How many retrained models, and models of each other kind.
        forget: Forget samples.
        test: Test samples; 1,000 show a false positive rate of 1 in 1,000.
        forget_test: Test samples of forgotten classes; 0 where samples are forgotten, and then there are shadows.
    """
    counts = {"retain": 300, "forget": forget, "test": test, "before": 60}
    counts |= {"forget_test": forget_test} if forget_test else {}
    world = World.drawn(seed, classes, counts)
    model = world.model("retain", lift=2.5)
    others = [world.model("retain") for _ in range(retrained)]
    siblings = [world.model("retain", lift=2.5) for _ in range(retrained)]
    return Panel(
        model,
        others,
        world.model("retain", "forget"),
        world.model().forget,
        siblings,
        [world.model("retain", "forget") for _ in range(retrained)],
        siblings,
        None if forget_test else world.shadows(model),
        seed=seed,
    )


def changed(panel: Panel, change: Callable[[str, Part], Part], *, model_only: bool = False) -> Panel:
    """The panel with other parts.

    Args:
        panel: The panel.
        change: From the name of a part and the part to another.
        model_only: Whether only the model that is judged is changed.
    """

    def of(one: Predictions) -> Predictions:
        return replace(one, **{name: change(name, getattr(one, name)) for name in _parts(one)})

    if model_only:
        return replace(panel, model=of(panel.model))
    return replace(
        panel,
        model=of(panel.model),
        retrained=list(map(of, panel.retrained)),
        original=None if panel.original is None else of(panel.original),
        initial_forget=None if panel.initial_forget is None else change("forget", panel.initial_forget),
        unlearned=list(map(of, panel.unlearned)),
        originals=list(map(of, panel.originals)),
        again=list(map(of, panel.again)),
    )


def _parts(predictions: Predictions) -> list[str]:
    """The parts that there are."""
    return [name for name in PARTS if getattr(predictions, name) is not None]


def reordered(panel: Panel, seed: int = 0) -> Panel:
    """The same samples in another order."""
    rng = np.random.default_rng(seed)
    order = {name: rng.permutation(len(getattr(panel.model, name))) for name in _parts(panel.model)}
    found = changed(panel, lambda name, part: part.take(order[name]))
    if panel.shadows is None:
        return found
    shadows, count = panel.shadows, len(order["forget"])
    columns = np.concatenate([order["forget"], np.arange(count, shadows.before.shape[1])])
    return replace(
        found,
        shadows=replace(
            shadows,
            before=shadows.before[:, columns],
            after=shadows.after[:, columns],
            member=shadows.member[:, columns],
            non_members=np.argsort(order["test"])[shadows.non_members],
        ),
    )


def lifted(panel: Panel, seed: int = 0) -> Panel:
    """The same probabilities: a number of its own is added to all logits of a sample."""
    rng = np.random.default_rng(seed)

    def change(_: str, part: Part) -> Part:
        logits: Logits = part.logits + rng.integers(-400, 400, (len(part), 1)) / 8  # float64: float32 would round them
        return replace(part, logits=logits)

    return changed(panel, change)


def renamed(panel: Panel, seed: int = 0) -> Panel:
    """The same classes under other numbers."""
    order = np.random.default_rng(seed).permutation(panel.model.retain.logits.shape[1])
    number = np.argsort(order)
    return changed(panel, lambda _, part: replace(part, logits=part.logits[:, order], labels=number[part.labels]))


def _certain(logits: Logits) -> Logits:
    """All probability on the most probable class."""
    top = logits == logits.max(axis=1, keepdims=True)
    return np.where(top, logits, -np.inf)


EXTREMES: Mapping[str, Callable[[Logits], Logits]] = {
    "huge": lambda logits: np.where(logits > np.median(logits), 1e4, -1e4),
    "far": lambda logits: logits + 1e4,
    "ties": lambda logits: np.zeros_like(logits),
    "certain": _certain,
    "wrong": lambda logits: -1e4 * logits / np.abs(logits).max(),
}
"""Logits at the edge of what networks give: of 1e4 either way, all equal, and probabilities of exactly 0 and 1."""


def extreme(panel: Panel, case: str, *, model_only: bool) -> Panel:
    """The panel with logits of ``EXTREMES``."""

    def change(_: str, part: Part) -> Part:
        return replace(part, logits=EXTREMES[case](part.logits.astype(np.float64)).astype(np.float32))

    return changed(panel, change, model_only=model_only)


def edge(panel: Panel, case: str) -> Panel:
    """The panel with little in it: no or one retrained model, one sample, an empty part, two classes."""
    if case == "nothing but the model":
        return Panel(panel.model, seed=panel.seed)
    if case == "one retrained model":
        return replace(panel, retrained=panel.retrained[:1])
    bare = replace(panel, shadows=None)
    if case == "one sample":
        return changed(bare, lambda _, part: part.take(np.arange(1)))
    if case == "two classes":
        return changed(bare, lambda _, part: replace(part, logits=part.logits[:, :2], labels=part.labels % 2))
    empty = case.removeprefix("empty ")
    return changed(bare, lambda name, part: part.take(np.arange(0)) if name == empty else part)


EDGES = (
    "nothing but the model",
    "one retrained model",
    "one sample",
    "two classes",
    *(f"empty {part}" for part in ("retain", "forget", "test")),
)


def identical(panel: Panel) -> Panel:
    """The panel of a model that is the same as every model that it is compared with."""
    same = panel.model
    group = [same] * len(panel.retrained)
    return Panel(same, group, same, same.forget, group, group, group, seed=panel.seed)


def without(panel: Panel, needs: tuple[str, ...]) -> Panel:
    """The panel without what a score does not declare that it needs."""
    siblings = "many unlearned" in needs
    return Panel(
        panel.model,
        panel.retrained if {"retrained", "references", "many retrained"} & {*needs} else (),
        panel.original if "original" in needs else None,
        panel.initial_forget if "untrained" in needs else None,
        panel.unlearned if siblings else (),
        panel.originals if siblings else (),
        panel.again if siblings else (),
        shadows=panel.shadows if "shadows" in needs else None,
        seed=panel.seed,
    )
