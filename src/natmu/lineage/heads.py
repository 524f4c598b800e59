"""Heads on stored features: fitted, made to forget, and asked for predictions, without an image being read."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from torch import nn

from natmu.data import ImageData
from natmu.engine import processes
from natmu.engine.store import Run
from natmu.errors import ModelError
from natmu.heads.errors import RefitNeeded
from natmu.heads.logistic import LogisticHead
from natmu.heads.ridge import RidgeHead
from natmu.heads.rows import linear_of
from natmu.lineage.backbone_weights import backbone_digest
from natmu.lineage.features import features_of
from natmu.lineage.pools import Pool
from natmu.lineage.workspace import Workspace
from natmu.models import set_unit_head, unit_head_of
from natmu.progress import say
from natmu.records.derived import forget_of
from natmu.records.heads import HEAD, FeatureRows, read_head
from natmu.records.lineage import Backbone, Trained
from natmu.records.run import content_of
from natmu.records.settings import LogisticTraining, RidgeTraining
from natmu.types import FloatArray, ForgetSet, IntArray, Outputs, Part, positions_digest, seed_for

HEADLESS = (
    "downdate takes samples out of a head that was fitted or downdated, and this run does not hold what that needs. "
    "Another method has changed the model since, or a purge deleted it. Fit the head again with --set refit=true."
)
"""Refuses to take samples out of a head without its state."""

Head = RidgeHead | LogisticHead
HeadRecipe = RidgeTraining | LogisticTraining


@dataclass(frozen=True, eq=False)
class HeadData:
    """The rows that heads of one model are fitted on, in positions of the whole data, and all others that they predict.

    Attributes:
        workspace: The data in memory.
        backbone: Whose features they are.
        corrections: Position and right label, int64 ``(K, 2)``, of corrected samples, which stand behind the training
            data.
        pool: The pool of a shadow model, whose non-members stand behind the training data.
    """

    workspace: Workspace
    backbone: Backbone
    corrections: IntArray
    pool: Pool | None = None

    @cached_property
    def features(self) -> FeatureRows:
        """Rows of the whole data."""
        return features_of(self.backbone, self.workspace)

    @cached_property
    def rows(self) -> FloatArray:
        """The rows of the training data and of what stands behind it, float32 ``(N, P)``."""
        train, test = self.features.train, self.features.test
        behind = train[self.corrections[:, 0]] if self.pool is None else test[self.pool.rows]
        return np.concatenate([train, behind]) if len(behind) else train

    @cached_property
    def labels(self) -> IntArray:
        """A label for each of them, int64 ``(N,)``; those of samples that are gone are in the run of the backbone."""
        splits, gaps = self.workspace.splits, self.workspace.remaining is not None
        known = self.workspace.require(self.backbone).outputs().train.labels if gaps else _labels(splits.train)
        behind = self.corrections[:, 1] if self.pool is None else _labels(splits.test)[self.pool.rows]
        return np.concatenate([known, behind])

    def fitted(self, recipe: HeadRecipe, left_out: IntArray, seed: int) -> Head:
        """A head that is fitted on all samples but some.

        Args:
            recipe: How.
            left_out: Positions of these.
            seed: Of the model; with what is left out it decides the noise, so that no two fits share theirs.
        """
        kept = np.ones(len(self.rows), bool)
        kept[left_out] = False
        rows, labels = (self.rows, self.labels) if kept.all() else (self.rows[kept], self.labels[kept])
        count = self.workspace.splits.train.num_classes
        if isinstance(recipe, RidgeTraining):
            return RidgeHead.fit(rows, labels, num_classes=count, l2=recipe.l2)
        without = np.concatenate([left_out, [-1], self.corrections.ravel()]).astype(np.int64)
        noise = seed_for(seed, "noise of a head", positions_digest(without))
        return LogisticHead.fit(rows, labels, num_classes=count, seed=noise, **recipe.model_dump(exclude={"head"}))

    def outputs(self, head: Head) -> Outputs:
        """Predictions on all data in memory; of a shadow model those on the pool."""
        splits, remaining, features = self.workspace.splits, self.workspace.remaining, self.features
        if self.pool is not None:
            at = self.pool.positions
            part = Part(head.logits(self.rows[at]), self.labels[at])
            return Outputs(part, part.take(np.zeros(0, np.int64)))
        there = features if remaining is None else features.at(remaining.rows)
        held, own = splits.holdout, there.holdout
        holdout = None if held is None or own is None else _part(head, own, held)
        return Outputs(_part(head, there.train, splits.train), _part(head, there.test, splits.test), holdout)


@dataclass(eq=False)
class FittedHead:
    """A model whose last layer is a head that was fitted on features; what ``Downdate`` is handed.

    Attributes:
        data: The rows.
        recipe: How it was fitted.
        seed: Of the original, which with what is left out decides the noise of a fit.
        network: The model.
        head: Its head, and after ``downdated`` the head that is left; None where the run has not what it needs to
            forget, so that it can only be fitted again.
        before: Position and right label, int64 ``(K, 2)``, of what had been corrected in the data that it was fitted
            on.
        asked: What is to be forgotten, in positions of the whole data; None of a shadow model, which has no gaps.
        absent: Positions of what the head does not hold any more, int64: it may be more than anybody asked the model to
            forget, where it was fitted again without samples that were asked for later, or that were missing then.
        noted: What was decided meanwhile.
    """

    data: HeadData
    recipe: HeadRecipe
    seed: int
    network: nn.Module
    head: Head | None
    before: IntArray
    asked: ForgetSet | None = None
    absent: IntArray = field(default_factory=lambda: np.zeros(0, np.int64))
    noted: tuple[str, ...] = ()

    def downdated(self, forget: IntArray, left_out: IntArray, *, refit: bool = False) -> nn.Module:
        """The model with a head that samples were taken out of; fitted again where that cannot be done any more.

        Samples with corrected labels are taken out with the wrong label and put in with the right one, and samples that
        were missing from the data without anybody asking to forget them are put in once they are there again. A
        certified logistic head takes no samples in, and is fitted again then. Samples that are gone are taken out by
        their stored rows.

        Args:
            forget: Positions of the samples, in the training data of the problem.
            left_out: Positions of all that is left out, these and those forgotten before.
            refit: Whether to fit it again in any case.

        Raises:
            ModelError: There is no head, and nobody asks to fit one again.
        """
        back = self.absent[:0]
        if self.asked is not None:
            left_out = self.asked.left_out
            forget, back = np.setdiff1d(left_out, self.absent), np.setdiff1d(self.absent, left_out)
        if refit:
            self.head = self.data.fitted(self.recipe, left_out, self.seed)
        elif self.head is None:
            raise ModelError(HEADLESS)
        else:
            self.head = self._next(self.head, forget, left_out, back)
        if self.asked is not None and isinstance(self.head, LogisticHead):
            self._note(_budget(self.head))
        return with_head(self.network, self.head)

    def _next(self, head: Head, forget: IntArray, left_out: IntArray, back: IntArray) -> Head:
        rows, labels = self.data.rows, self.data.labels
        gone, new = _difference(self.before, self.data.corrections), _difference(self.data.corrections, self.before)
        out = np.concatenate([rows[forget], rows[gone[:, 0]]]), np.concatenate([labels[forget], gone[:, 1]])
        into = np.concatenate([rows[new[:, 0]], rows[back]]), np.concatenate([new[:, 1], labels[back]])
        if len(into[0]) and not isinstance(head, RidgeHead):
            what = f"{len(back)} samples that were missing are there again" if len(back) else "labels were corrected"
            return self._again(left_out, f"A logistic head takes no samples in, and {what}.")
        if erased := int((~out[0].any(axis=1)).sum()):  # no row that stands for a sample is zero
            return self._again(left_out, f"The features of {erased} samples that it should forget were erased.")
        try:
            head = head.remove(*out) if len(out[0]) else head
            return head.add(*into) if len(into[0]) and isinstance(head, RidgeHead) else head
        except RefitNeeded as refusal:
            return self._again(left_out, str(refusal))

    def _again(self, left_out: IntArray, why: str) -> Head:
        """A fit on what is left, which is said."""
        self._note(f"The head was fitted again on what is left. {why}")
        return self.data.fitted(self.recipe, left_out, self.seed)

    def _note(self, sentence: str) -> None:
        """Say what was decided, and keep it for the record of this model."""
        self.noted = (*self.noted, sentence)
        say(sentence)

    def outputs(self) -> Outputs:
        """Predictions of the head, from stored rows."""
        assert self.head is not None, "it was fitted, or something was taken out of it"
        return self.data.outputs(self.head)

    def write(self, folder: Path) -> None:
        """Write what the head needs to forget; of several processes the first does."""
        assert self.head is not None, "it was fitted, or something was taken out of it"
        if processes.writes():
            self.head.save(folder / HEAD)


def in_network(head: Head, data: HeadData, recipe: HeadRecipe, seed: int) -> FittedHead:
    """A head that was fitted, as the last layer of its backbone.

    Args:
        head: The head.
        data: The rows that it was fitted on.
        recipe: How it was fitted.
        seed: Of the model.
    """
    network = data.workspace.load(data.workspace.require(data.backbone))
    return FittedHead(data, recipe, seed, with_head(network, head), head, data.corrections)


def head_of_run(run: Run, network: nn.Module, data: HeadData, root: Trained, asked: ForgetSet | None) -> FittedHead:
    """The head of a run, with what it needs to forget, where the run still holds that.

    Args:
        run: The run.
        network: Its model.
        data: The rows of the problem.
        root: The original.
        asked: What is to be forgotten, in positions of the whole data; None of a shadow model.

    Raises:
        RunError: The state is damaged.
        ModelError: The network holds another backbone than the one whose features are stored.
    """
    if backbone_digest(network) != data.backbone.weights:
        raise ModelError(
            f"{run.path} holds another backbone than the one whose features its head was fitted on; fit a head again."
        )
    recipe, there = root.recipe, run.has(HEAD)
    assert isinstance(recipe, RidgeTraining | LogisticTraining), "a head stands on a backbone"
    kind = RidgeHead if isinstance(recipe, RidgeTraining) else LogisticHead
    head = kind.from_state(content_of(run.verified(HEAD), read_head)) if there else None
    none = np.zeros((0, 2), np.int64)
    known = None if asked is None or forget_of(run.record.lineage) is None else run.forget()
    before, absent = (none, none[:, 0]) if known is None else (known.corrections, known.left_out)
    return FittedHead(data, recipe, root.seed, network, head, before, asked, absent)


def with_head(network: nn.Module, head: Head) -> nn.Module:
    """A copy of a network with the weights of a head; what is frozen is shared with the network."""
    _, own = unit_head_of(network)
    still = [*network.parameters(), *network.buffers()]
    shared = {id(tensor): tensor for tensor in still if all(tensor is not part for part in own.parameters())}
    changed = copy.deepcopy(network, dict(shared))
    set_unit_head(changed, *linear_of(head.weights))
    return changed


def _budget(head: LogisticHead) -> str:
    """How much of its budget a head has spent, in the words of ``HeadFacts``."""
    return (
        f"(epsilon, delta) = ({head.epsilon:g}, {head.delta:g}); {head.spent:.3g} of {head.budget:.3g} of the budget "
        f"are spent by {head.removed} removal{'' if head.removed == 1 else 's'} since the last fit."
    )


def _part(head: Head, rows: FloatArray, data: ImageData) -> Part:
    """Predictions on one part of the data."""
    fine = None if data.fine is None else np.asarray(data.fine.labels)
    return Part(head.logits(rows), np.asarray(data.labels), fine)


def _difference(corrections: IntArray, others: IntArray) -> IntArray:
    """The corrections that are not among others."""
    known = {(int(place), int(label)) for place, label in others}
    kept = [(int(place), int(label)) not in known for place, label in corrections]
    found: IntArray = corrections[np.asarray(kept, bool)]
    return found


def _labels(data: ImageData) -> IntArray:
    """The labels of data in memory."""
    return np.asarray(data.labels.cpu().numpy(), np.int64)
