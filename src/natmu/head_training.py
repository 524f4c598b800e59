"""The verb of the command line that fits a head on the features of a frozen backbone."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from natmu.engine import processes
from natmu.engine.store import Run
from natmu.errors import SettingError
from natmu.lineage import obtain
from natmu.models import Outputs
from natmu.opening import Place
from natmu.opening_backbones import open_backbone
from natmu.progress import decide
from natmu.records.derived import SECRET_BITS, original
from natmu.records.files import is_there
from natmu.records.lineage import AnyLineage, Trained
from natmu.records.run import RECORD, open_run
from natmu.records.settings import AnyTraining, HeadTraining, LogisticTraining, training_of


def train_head_run(
    data: Mapping[str, Any],
    features_from: str | None,
    model: str | None,
    training: Mapping[str, Any],
    seed: int | None,
    place: Place,
    outputs: Outputs = "logits",
) -> Run:
    """Fit a head on the features of a frozen backbone, or find it in the store.

    Args:
        data: Values for ``DataSettings``.
        features_from: The backbone; see ``open_backbone``.
        model: Its architecture; needed with a file of weights.
        training: Values for ``RidgeTraining`` or ``LogisticTraining``.
        seed: Of the noise of a logistic head; drawn from the operating system if None.
        place: Where.
        outputs: What a model that is not ours returns.

    Raises:
        UsageError: Something asked for cannot be done.
        TrainingError: A feature is not finite.
    """
    recipe = training_of(training)
    assert isinstance(recipe, HeadTraining), "the caller knows"
    if features_from is None:
        raise SettingError("A head is fitted on the features of a model; name that model with --features-from.")
    place.refuse_taken(lambda made: _fits(made, recipe, seed))
    seed = processes.agree(lambda: _seed(recipe, seed, place))
    workspace, backbone = open_backbone(place, data, features_from, model, outputs)
    head = original(workspace.data, workspace.architecture, backbone.arithmetic, recipe, seed, backbone)
    return obtain(head, workspace, place.name)


def _fits(made: AnyLineage, recipe: AnyTraining, seed: int | None) -> bool:
    """Whether a run may be the head that is asked for."""
    return isinstance(made, Trained) and made.recipe == recipe and seed in (None, made.seed)


def _seed(recipe: AnyTraining, seed: int | None, place: Place) -> int:
    """The seed of a head: nothing of a ridge head is random, and nobody shall guess that of a logistic one."""
    if not isinstance(recipe, LogisticTraining):
        return seed or 0
    if seed is not None:
        decide(
            f"The noise of the head comes from the seed {seed}. Anyone who guesses it can subtract the noise; leave "
            "--seed out for a seed that nobody knows."
        )
        return seed
    if place.name is not None and is_there((folder := place.root / place.name) / RECORD):
        return int(open_run(folder).record.lineage.seed)  # type: ignore[union-attr]  # it fits, so that it has one
    decide(
        "The seed of the noise was drawn from the operating system; keep it secret, with the run folder that has it."
    )
    return 1 << (SECRET_BITS - 1) | secrets.randbits(SECRET_BITS - 1)
