"""What is read within a model and beside the forget samples, as scores next to retrained models and the original."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from natmu.errors import UsageError
from natmu.scores.information import information_difference, label_information, membership_information
from natmu.scores.nearby import residual_knowledge
from natmu.scores.panel import Measured
from natmu.types import ForgetSet, IntArray

SHOWN = 500
"""Forget samples that models are asked about at most, evenly spread."""

LEARNT = 2000
"""Retain samples that probes of classes are fitted to at most, evenly spread."""

RADIUS, DRAWS = 8 / 255, 20
"""How far neighbours lie from a forget sample at most, in each pixel, and how many of each are asked."""

SETTINGS = {"shown": SHOWN, "learnt": LEARNT, "radius": RADIUS, "draws": DRAWS}
"""All that decides what is found beside the model and the data."""

UNMEASURED = "was not measured; audit without --offline, with the models of the audit there."


@dataclass(frozen=True)
class Probe:
    """What one model was found to know.

    Attributes:
        blocks: Nats about what is to be forgotten in what each of its blocks is given, in their order; none where the
            model has one block, or there is too little to fit a probe to.
        right: Right predictions on neighbours of forget samples.
    """

    blocks: tuple[float, ...]
    right: int

    def without_outputs(self) -> Probe:
        """The probe as of a model that has no output for what is to be forgotten, and so is never right on it."""
        return replace(self, right=0)


@dataclass(frozen=True)
class Questions:
    """What models are asked about a forget set.

    Of whole classes a probe is asked whether a sample is of them or of the retain set, as in the paper of ``idi``. Of
    other forget sets it is asked for the class of each forget sample, and fitted to retain samples, as a new head would
    be. No linear direction of the features tells whether a sample was trained on: of 400 digits of which 100 were
    forgotten, a probe for forget against retain samples found 0.03 nats in the original and 0.04 to 0.13 in eight
    retrained models, and one for forget against test samples 0.05 and 0.06 to 0.11. But a sample that was trained on
    lies among those of its class: 3.97 nats in the original, and 3.63 to 3.95 in the retrained models.

    Attributes:
        retain: Positions of the retain samples of the probes, int64.
        forget: Positions of the forget samples of the probes.
        nearby: Positions of the forget samples whose neighbours are asked about.
        labels: Of all training samples.
        by_class: Whether probes are asked for classes.
    """

    retain: IntArray
    forget: IntArray
    nearby: IntArray
    labels: IntArray
    by_class: bool

    @classmethod
    def about(cls, forget: ForgetSet, labels: npt.ArrayLike) -> Questions:
        """The questions about a forget set, from the labels of all training samples."""
        labels_N, nearby = np.asarray(labels), _spread(forget.indices, SHOWN)
        retain = np.setdiff1d(np.arange(len(labels_N)), forget.left_out)
        by_class = not forget.class_wise and bool(np.isin(labels_N[nearby], labels_N[retain]).any())
        retain = _spread(retain, LEARNT if by_class else len(nearby))
        asked = nearby[np.isin(labels_N[nearby], labels_N[retain])] if by_class else nearby
        return cls(retain, asked, nearby, labels_N, by_class)

    @property
    def positions(self) -> IntArray:
        """Samples whose features probes take: of the retain set, then of the forget set; none if they are too few."""
        both = np.concatenate([self.retain, self.forget])
        return both if min(len(self.retain), len(self.forget)) >= 2 else both[:0]

    def information(self, features: npt.ArrayLike) -> float:
        """Nats that a probe finds in the features ``(M, D)`` of these samples in a block."""
        seen, held = np.split(np.asarray(features), [len(self.retain)])
        if self.by_class:
            return label_information(seen, self.labels[self.retain], held, self.labels[self.forget])
        return membership_information(held, seen)


def probe_scores(model: Probe | None, retrained: Sequence[Probe], original: Probe | None) -> dict[str, Measured]:
    """The scores of a model among retrained models, each of which is compared with the mean of all of them.

    Args:
        model: The model that is judged; None where it was not measured.
        retrained: Retrained models.
        original: The original; None where it was not measured.
    """
    if model is None:
        return {name: Measured(None, reason=f"{name} {UNMEASURED}") for name in ("idi", "residual_knowledge")}
    right = [one.right for one in retrained]
    found = {
        "residual_knowledge": _measured(lambda one: residual_knowledge(one.right, right), model, retrained, original)
    }
    if original is None:
        return found | {"idi": Measured(None, reason="idi needs the original, to know what it had learned.")}
    if not (model.blocks and original.blocks and all(one.blocks for one in retrained)):
        reason = "idi needs a model with inner layers, and at least 2 forget and 2 retain samples for its probes."
        return found | {"idi": Measured(None, reason=reason)}
    sums, most = [sum(one.blocks) for one in retrained], sum(original.blocks)
    index = _measured(lambda one: information_difference(sum(one.blocks), sums, most), model, retrained, original)
    return found | {"idi": index}


def _measured(
    score: Callable[[Probe], float], model: Probe, retrained: Sequence[Probe], original: Probe | None
) -> Measured:
    """A score of all models, or why there is none."""
    try:
        return Measured(score(model), [score(one) for one in retrained], None if original is None else score(original))
    except UsageError as error:
        return Measured(None, reason=str(error))


def _spread(positions: IntArray, most: int) -> IntArray:
    """As many positions, evenly spread."""
    rows = np.linspace(0, max(0, len(positions) - 1), min(len(positions), most)).round().astype(np.int64)
    return positions[rows]
