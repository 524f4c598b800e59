"""What a model's predictions look like on each part of the data: binned margins and thinned ROC curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from natmu.errors import RunError, TrainingError
from natmu.records.run import PREDICTIONS, RunFolder
from natmu.scores import Softmax, auc, margin, roc
from natmu.types import ForgetSet, Outputs, Part

Values = npt.NDArray[np.float64]

FORGET_TEST = "forget_test"
"""Name of the part of unseen samples of forgotten classes."""

BINS = 48
POINTS = 80
"""Points at most of a ROC curve."""
TAIL = 0.2
"""Percent of the margins on either side that decide no border."""
ROOM = 0.25
"""Fraction of their range that bins reach beyond it, for the margins of other models."""


@dataclass(frozen=True)
class Curve:
    """How well margins tell the samples of one part from unseen ones: a ROC curve and its area."""

    fpr: tuple[float, ...]
    tpr: tuple[float, ...]
    area: float


@dataclass(frozen=True)
class Margins:
    """One model's margins.

    Attributes:
        parts: By name of the part, the margins of its samples, float64 ``(N,)``, in nats.
        unseen: Name of the part that no model was trained on, without the samples of forgotten classes; these are the
            part ``forget_test``.
    """

    parts: Mapping[str, Values]
    unseen: str

    @property
    def seen(self) -> list[str]:
        """The parts that a model may have been trained on."""
        return [part for part in self.parts if part not in (self.unseen, FORGET_TEST)]

    def non_members(self, part: str) -> str:
        """The part of unseen samples like those of a part: of a forgotten class, those of that class."""
        return FORGET_TEST if part == "forget" and FORGET_TEST in self.parts else self.unseen

    def against_unseen(self, part: str) -> Curve | None:
        """The attack that takes the samples with the largest margins for members; None without unseen samples."""
        if self.non_members(part) not in self.parts:
            return None
        members, non_members = self.parts[part], self.parts[self.non_members(part)]
        found = roc(members, non_members)
        keep = _thinned(found.fpr, found.tpr)
        return Curve(_short(found.fpr[keep], 4), _short(found.tpr[keep], 4), auc(members, non_members))


def margins_of(outputs: Outputs, forget: ForgetSet | None, unseen: str = "test") -> Margins:
    """The margins of a model on the parts of its data.

    Args:
        outputs: Its stored predictions.
        forget: The forget set; None of an original on its own, whose training data is then one part.
        unseen: ``test``, or ``holdout`` where the test set must not be seen.
    """
    non_members = outputs.test if unseen == "test" else outputs.holdout
    parts: dict[str, Part | None] = {"train": outputs.train, unseen: non_members}
    if forget is not None:
        split = replace(outputs, test=outputs.test if non_members is None else non_members).split(forget)
        parts = {"forget": split.forget, "retain": split.retain}
        parts |= {} if non_members is None else {unseen: split.test, FORGET_TEST: split.forget_test}
    found = {name: part for name, part in parts.items() if part is not None and len(part)}
    return Margins({name: margin(Softmax(part.logits, part.labels)) for name, part in found.items()}, unseen)


def margins_of_run(run: RunFolder, forget: ForgetSet | None, unseen: str = "test") -> Margins:
    """The margins of a run's model on the parts of its data; see ``margins_of``.

    Raises:
        RunError: The predictions cannot be read, or are no finite numbers.
    """
    try:
        return margins_of(run.outputs(), forget, unseen)
    except TrainingError as error:
        raise RunError(f"{run.path / PREDICTIONS}: {error}") from None


def edges_for(models: Sequence[Margins]) -> Values:
    """Borders of bins, float64 ``(BINS + 1,)``, with room on both sides.

    Args:
        models: Those that decide: original and retrained models where there are any, because the margins of a method
            that broke its model may lie anywhere.
    """
    ends = [np.percentile(part, [TAIL, 100 - TAIL]) for one in models for part in one.parts.values()]
    low, high = min(end[0] for end in ends), max(end[1] for end in ends)
    room = max(ROOM * (high - low), 0.5)
    return np.linspace(low - room, high + room, BINS + 1)


def percentages(values: Values, edges: Values) -> tuple[float, ...]:
    """Percent of the samples in each bin, ``(BINS,)``; those outside count in the outermost."""
    counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), edges)
    return _short(100 * counts / len(values), 2)


def _thinned(fpr: Values, tpr: Values) -> npt.NDArray[np.int64]:
    """Places of the points to draw: evenly spaced along the curve, denser where false positives are few."""
    if len(fpr) <= POINTS:
        return np.arange(len(fpr))
    low = np.log10(np.maximum(fpr, 1e-4)) / 4
    way = np.concatenate([[0], np.cumsum(np.abs(np.diff(fpr)) + np.abs(np.diff(tpr)) + np.abs(np.diff(low)))])
    places = np.searchsorted(way, np.linspace(0, way[-1], POINTS))
    return np.unique(np.clip(places, 0, len(fpr) - 1))


def _short(values: Values, digits: int) -> tuple[float, ...]:
    """Few digits, so that the file stays small."""
    return tuple(np.round(values, digits).tolist())
