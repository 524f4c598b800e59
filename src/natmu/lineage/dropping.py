"""Outputs that go with the classes that are forgotten."""

from __future__ import annotations

from natmu.lineage.workspace import Workspace
from natmu.models import head_of, moved_outputs, require_enough
from natmu.progress import decide
from natmu.records.lineage import DroppedOutputs
from natmu.types import ForgetSet


def dropped_outputs(workspace: Workspace, forget: ForgetSet) -> DroppedOutputs:
    """The outputs that a model loses with the classes that it forgets; which others move is said.

    Raises:
        ModelError: The logits are not the rows of a last layer, or fewer than two classes would be left.
    """
    train = workspace.splits.train
    require_enough(train.num_classes, forget.classes)
    layer = head_of(workspace.build(0), num_classes=train.num_classes, image_shape=train.image_shape)
    decide(moved_outputs(train.class_names, forget.classes))
    return DroppedOutputs(layer=layer, classes=forget.classes)
