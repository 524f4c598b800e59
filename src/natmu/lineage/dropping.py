"""Outputs that go with the classes that are forgotten."""

from __future__ import annotations

from natmu.data import resolve_forget
from natmu.lineage.workspace import Workspace
from natmu.models import head_of, moved_outputs, require_enough
from natmu.progress import decide
from natmu.records.forgetting import ForgetRequest
from natmu.records.lineage import DroppedOutputs


def dropped_outputs(workspace: Workspace, request: ForgetRequest) -> DroppedOutputs:
    """The outputs that a model loses with the classes that it forgets; which others move is said.

    Args:
        workspace: The data and the architecture.
        request: Names the classes.

    Raises:
        ForgetSetError: There are no such classes.
        ModelError: The logits are not the rows of a last layer, or fewer than two classes would be left.
    """
    train = workspace.splits.train
    classes = resolve_forget(request, train, seed=0).classes
    require_enough(train.num_classes, classes)
    layer = head_of(workspace.build(0), num_classes=train.num_classes, image_shape=train.image_shape)
    decide(moved_outputs(train.class_names, classes))
    return DroppedOutputs(layer=layer, classes=classes)
