"""Audits of models in memory, which are given and not obtained: what beyond their predictions is compared."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from natmu.audits.compared import NOTHING_TO_RELEARN
from natmu.data import ImageData, unseen_rows
from natmu.engine.compute import Compute
from natmu.engine.predict import part_of
from natmu.engine.relearning import relearning_curve, shown_rows
from natmu.errors import DataError
from natmu.lineage.probing import probe
from natmu.lineage.relearning import relearning_steps
from natmu.models import WithoutOutputs
from natmu.records.settings import TrainSettings
from natmu.scores import Measured, Shadows, accuracy, loss, margin, weight_distance
from natmu.scores.probe import Probe, probe_scores
from natmu.scores.verdict import ENOUGH
from natmu.types import ForgetSet, IntArray, Outputs, Predictions


@dataclass(frozen=True)
class ShadowModels:
    """Shadow models for ``audit``: each was trained on the retain set and part of a pool, by LiRA on half of it.

    The pool is the forget set in its order, followed by non-members.

    Attributes:
        trained: The models, K of them.
        member: Which of them was trained on which sample of the pool, bool ``(K, P)``.
        non_members: Positions in the test data of the non-members, int ``(P - F,)``.
        unlearned: The same models, in the same order, after unlearning what they had of the pool; none for attacks that
            do without.

    Examples:
        >>> import natmu, numpy as np
        >>> from natmu.testing import trained
        >>> member = np.array([[True, False], [False, True]])  # one forget sample, and one non-member
        >>> shadows = natmu.ShadowModels([trained(), trained()], member, non_members=[0])
        >>> len(shadows.trained), shadows.member.mean(axis=0).tolist()
        (2, [0.5, 0.5])
    """

    trained: Sequence[nn.Module]
    member: npt.NDArray[np.bool_]
    non_members: Sequence[int] | IntArray | Tensor
    unlearned: Sequence[nn.Module] = ()


@dataclass(frozen=True)
class ReferenceModels:
    """What a model in memory is compared with, beside its original.

    Attributes:
        retrained: Trained without the forget set.
        initial: An untrained model.
        originals: Other originals.
        unlearned: What the same method made of those.
        again: What the same method made of the same original with other seeds.
        shadows: Shadow models.
    """

    retrained: list[nn.Module]
    initial: nn.Module | None
    originals: list[nn.Module]
    unlearned: list[nn.Module]
    again: list[nn.Module]
    shadows: ShadowModels | None

    def by_name(self) -> dict[str, list[nn.Module]]:
        """All models, by the names of the arguments that give them."""
        return {
            "retrained": self.retrained,
            "initial_model": [] if self.initial is None else [self.initial],
            "originals": self.originals,
            "unlearned": self.unlearned,
            "again": self.again,
            "shadows": [] if self.shadows is None else [*self.shadows.trained, *self.shadows.unlearned],
        }


def measured_scores(
    model: nn.Module,
    retrained: Sequence[nn.Module],
    original: nn.Module | None,
    before: Predictions | None,
    train: ImageData,
    forget: ForgetSet,
    compute: Compute,
) -> dict[str, Measured]:
    """The scores that need the models themselves: what they know and relearn, and how far their weights are apart."""
    references, data = retrained[:ENOUGH], train.to(compute.device)
    dropped = model.classes if isinstance(model, WithoutOutputs) else ()

    def probed(one: nn.Module) -> Probe:
        found = probe(private_copy(one, compute), data, forget, compute)
        return found.without_outputs() if dropped else found

    own, *probes = map(probed, (model, *references))
    found = probe_scores(own, probes, None if original is None else probed(original))
    if dropped:
        relearn = Measured(None, reason=NOTHING_TO_RELEARN)
    elif before is None:
        relearn = Measured(None, reason="relearn_time needs the original, to know when the loss is back.")
    else:
        level = float(loss(before.forget.take(shown_rows(forget))).mean())
        size = TrainSettings().batch_size

        def steps(one: nn.Module) -> float:
            curve = relearning_curve(private_copy(one, compute), data, forget, size, compute)
            return float(relearning_steps(curve, level))

        relearn = Measured(steps(model), [steps(one) for one in references], 0.0)
    if not references:
        return found | {"relearn_time": relearn}
    like = _weights(model)
    first = _without_rows(_weights(references[0]), like, dropped)

    def far(one: nn.Module) -> float:
        return weight_distance(_without_rows(_weights(one), like, dropped), first).total

    others = [far(one) for one in references[1:]]
    distance = Measured(far(model), others, None if original is None else far(original))
    return found | {"relearn_time": relearn, "weight_distance": distance}


def shadow_margins(
    shadows: ShadowModels,
    train: ImageData,
    test: ImageData,
    forget: ForgetSet,
    compute: Compute,
    dropped: Sequence[int] = (),
) -> Shadows:
    """The margins of shadow models on the pool, as of models that have no output for the dropped classes."""
    non_members = np.asarray(shadows.non_members, np.int64)
    member = np.asarray(shadows.member)
    wanted = (len(shadows.trained), len(forget) + len(non_members))
    if member.shape != wanted or member.dtype != bool:
        raise DataError(f"shadows.member must be a bool array of shape {wanted}, not {member.dtype} {member.shape}.")
    if len(shadows.unlearned) not in (0, len(shadows.trained)):
        raise DataError("shadows.unlearned must be one model for each of shadows.trained, or none.")
    unseen = unseen_rows(test, forget)
    if not np.isin(non_members, unseen).all():
        raise DataError("shadows.non_members must be positions of test samples of the kind that is forgotten.")
    parts = train.subset(forget.indices), test.subset(non_members)

    def margins(models: Sequence[nn.Module]) -> npt.NDArray[np.float64]:
        rows = [
            np.concatenate(
                [
                    margin(part_of(private_copy(model, compute), part, compute).without_outputs(dropped))
                    for part in parts
                ]
            )
            for model in models
        ]
        return np.array(rows, np.float64).reshape(len(models), wanted[1])

    rows = np.searchsorted(unseen, non_members).astype(np.int64)
    return Shadows(
        margins(shadows.trained), margins(shadows.unlearned), member, rows, np.arange(len(shadows.unlearned))
    )


def accuracies(outputs: Outputs, forget: ForgetSet) -> dict[str, float]:
    """Accuracies on the parts that unlearning is given, in percent, from a model's predictions on all of them."""
    kept = np.ones(len(outputs.train), bool)
    kept[forget.left_out] = False
    parts = {"retain_acc": outputs.train.take(kept), "forget_acc": outputs.train.take(forget.indices)}
    parts |= {"before_acc": outputs.train.take(forget.before)}
    corrected = outputs.split(forget).corrected
    parts |= {} if corrected is None else {"corrected_acc": corrected}
    parts |= {} if outputs.holdout is None else {"holdout_acc": outputs.holdout}
    return {name: accuracy(part) for name, part in parts.items() if len(part)}


def outputs_in_memory(
    model: nn.Module, train: ImageData, test: ImageData | None, holdout: ImageData | None, compute: Compute
) -> Outputs:
    """A model's predictions on all parts; the test part is empty where there is none. The model is not changed."""
    private = private_copy(model, compute)
    own = part_of(private, train, compute)
    return Outputs(
        own,
        own.take(np.zeros(0, np.int64)) if test is None else part_of(private, test, compute),
        None if holdout is None else part_of(private, holdout, compute),
    )


def private_copy(model: nn.Module, compute: Compute) -> nn.Module:
    """A private copy of a model on the device."""
    return compute.place(copy.deepcopy(model))


def _weights(model: nn.Module) -> dict[str, npt.NDArray[Any]]:
    """A model's parameters and buffers as arrays."""
    whole = model.network if isinstance(model, WithoutOutputs) else model
    return {name: value.detach().cpu().float().numpy() for name, value in whole.state_dict().items()}


def _without_rows(
    arrays: dict[str, npt.NDArray[Any]], like: dict[str, npt.NDArray[Any]], dropped: Sequence[int]
) -> dict[str, npt.NDArray[Any]]:
    """Weights without the rows of outputs that a model lost, where the other still has them."""
    if not dropped:
        return arrays
    longer = {name for name, value in arrays.items() if name in like and value.ndim > 0}
    longer = {name for name in longer if len(arrays[name]) == len(like[name]) + len(dropped)}
    return {name: np.delete(value, dropped, axis=0) if name in longer else value for name, value in arrays.items()}
