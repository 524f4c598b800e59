"""Features of a frozen backbone: extracted once, kept in its run, read by whatever is fitted on them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from natmu.data import ImageData, Splits
from natmu.data.inputs import inputs
from natmu.engine import processes
from natmu.engine.compute import Compute
from natmu.engine.modes import evaluating
from natmu.engine.predict import evaluation_batch
from natmu.errors import TrainingError
from natmu.heads.rows import rows_of
from natmu.lineage.workspace import Workspace
from natmu.models import features_before, unit_head_of
from natmu.progress import task
from natmu.records.heads import FEATURES, FeatureRows, read_features, write_features
from natmu.records.lineage import Backbone
from natmu.records.run import content_of
from natmu.types import FloatArray


def extract(network: nn.Module, splits: Splits, compute: Compute, folder: Path) -> None:
    """Run all images through a backbone once, un-augmented and in eval mode, and write the rows of their features.

    Args:
        network: The backbone with a head, on the device.
        splits: The data, on the device.
        compute: Device and precision.
        folder: Gets the file.

    Raises:
        ModelError: The head does not get one row of features per image.
        TrainingError: A feature is not finite.
    """
    holdout = None if splits.holdout is None else rows_through(network, splits.holdout, compute)
    features = FeatureRows(
        rows_through(network, splits.train, compute), rows_through(network, splits.test, compute), holdout
    )
    if processes.writes():
        write_features(features, folder / FEATURES)


@torch.inference_mode()
def rows_through(network: nn.Module, data: ImageData, compute: Compute) -> FloatArray:
    """The rows of the features of images; several processes share the work, and each has all of them.

    Args:
        network: The backbone with a head, on the device.
        data: The images.
        compute: Device and precision.

    Returns:
        float32 ``(N, D + 1)``, as of ``natmu.heads.rows_of``.
    """
    _, head = unit_head_of(network)
    positions = torch.arange(len(data))
    shared = len(data) >= processes.count()
    own = positions.tensor_split(processes.count())[processes.rank()] if shared else positions
    size = evaluation_batch(data)
    pieces = [torch.zeros(0, head.in_features + 1)]
    label = "extract features"
    with evaluating(network), task(label, len(own), unit="images") as advance, compute.kernels(), compute.autocast():
        for rows in torch.split(own, size):
            images = inputs(data.take(rows).to(compute.device))
            features = features_before(head, lambda: network(images)).float().cpu().numpy()  # noqa: B023 - called here
            if not np.isfinite(features).all():
                raise TrainingError("The backbone's features are not finite; its weights are damaged or diverged.")
            pieces.append(torch.from_numpy(rows_of(features)))
            advance(len(rows))
    found = torch.cat(pieces)
    return np.asarray((processes.gathered(found, len(data)) if shared else found).numpy(), np.float32)


def features_of(backbone: Backbone, workspace: Workspace) -> FeatureRows:
    """The rows of the whole data, as the backbone's run holds them; those of the last backbone are kept in memory.

    Args:
        backbone: The backbone, whose run is in the store.
        workspace: The data.

    Raises:
        RunError: The run is missing, or its features are damaged.
    """
    if backbone.digest not in workspace.features:
        workspace.features.clear()
        path = workspace.require(backbone).verified(FEATURES)
        workspace.features[backbone.digest] = content_of(path, read_features)
    return workspace.features[backbone.digest]
