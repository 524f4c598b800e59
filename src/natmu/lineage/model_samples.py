"""The data of a model that is made: what it sees, what is forgotten, what it never sees beyond that."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from natmu.data import ImageData
from natmu.lineage.heads import HeadData
from natmu.lineage.pools import Pool
from natmu.lineage.workspace import Workspace
from natmu.records.lineage import (
    Backbone,
    Everything,
    Forget,
    HalfOfPool,
    Imported,
    Trained,
)
from natmu.types import ForgetSet, IntArray


@dataclass(frozen=True)
class ModelSamples:
    """All data of a model, what of it is to be forgotten, what it never sees beyond that, and a shadow model's pool.

    ``whole`` is what is to be forgotten in positions of the whole data, all others speak of what is in memory.
    """

    data: ImageData
    forget: ForgetSet | None
    aside: IntArray
    pool: Pool | None = None
    whole: ForgetSet | None = None

    @property
    def left_out(self) -> IntArray:
        """Positions of what a model that is trained on the rest never sees."""
        return self.aside if self.forget is None else self.forget.left_out


def model_samples(workspace: Workspace, model: Trained | Imported, forget: Forget | None) -> ModelSamples:
    """The data of a model, or of what a method makes of it; a shadow model forgets what it had of the pool."""
    on = model.on if isinstance(model, Trained) else Everything()
    if not isinstance(on, HalfOfPool):
        none = np.zeros(0, np.int64)
        if forget is None:
            return ModelSamples(workspace.on_device.train, None, none)
        found = workspace.forget_set(forget)
        return ModelSamples(workspace.training_data(forget), found, none, whole=workspace.whole(forget))
    pool = workspace.pool(on.forget)
    half = None if forget is None else replace(pool.forget, indices=pool.trained_on(on.number))
    return ModelSamples(pool.data, half, pool.aside(on.number), pool)


def require_samples(workspace: Workspace, forget: ForgetSet | None, *, needed: bool = False) -> None:
    """Refuse to make a model for which samples are gone; arguments as for ``Remaining.require``."""
    if workspace.remaining is not None:
        workspace.remaining.require(forget, needed=needed)


def head_data(backbone: Backbone, workspace: Workspace, samples: ModelSamples) -> HeadData:
    """The rows of what a model is trained on, or of what a method is handed."""
    corrections = np.zeros((0, 2), np.int64) if samples.whole is None else samples.whole.corrections
    return HeadData(workspace, backbone, corrections, samples.pool)
