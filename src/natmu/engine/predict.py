"""One model's logits on whole data sets."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from natmu.data.images import ImageData, Splits
from natmu.data.inputs import inputs
from natmu.engine import processes
from natmu.engine.compute import Compute
from natmu.engine.modes import evaluating
from natmu.errors import ModelError, TrainingError
from natmu.models.finite import broken_weight
from natmu.progress import task
from natmu.types import FloatArray, IntArray, Outputs, Part

EVALUATION_BATCH = 512
"""Images that are predicted at a time, at most."""

_EVALUATION_VALUES = 2**23
"""Pixels of all channels that are predicted at a time, about; 512 images of 64 by 64 or 55 of 224 by 224."""


def evaluation_batch(data: ImageData) -> int:
    """How many images are predicted at a time, so that large ones do not take more memory than small ones."""
    return max(1, min(EVALUATION_BATCH, _EVALUATION_VALUES // math.prod(data.image_shape)))


@torch.inference_mode()
def logits_of(model: nn.Module, data: ImageData, positions: Tensor, compute: Compute) -> Tensor:
    """Logits on un-augmented images, in eval mode; several processes share the work, and each has all the logits.

    Args:
        model: On the device; each of its modules is left in the mode it came in.
        data: Source of the images.
        positions: int64 ``(M,)``.
        compute: Device and precision.

    Returns:
        float32 ``(M, C)`` on the device.

    Raises:
        ModelError: The model does not return one row of logits per image.
        TrainingError: A logit is not finite.
    """
    pieces = []
    shared = len(positions) >= processes.count()  # not every model takes no image at all
    own = positions.tensor_split(processes.count())[processes.rank()] if shared else positions
    size = evaluation_batch(data)
    steps = -(-len(own) // size)
    with evaluating(model), task("predict", steps) as advance, compute.kernels(), compute.autocast():
        for rows in torch.split(own, size):
            images = inputs(data.take(rows).to(compute.device))
            pieces.append(model(images).float())
            advance()
    logits = torch.cat(pieces) if pieces else torch.zeros(0, data.num_classes, device=compute.device)
    if logits.dim() != 2 or len(logits) != len(own):
        raise ModelError(f"The model returns shape {tuple(logits.shape)}; one row of logits per image is needed.")
    logits = processes.gathered(logits, len(positions)) if shared else logits
    if not bool(torch.isfinite(logits).all()):
        broken = broken_weight(model)
        why = "" if broken is None else f", and neither is its weight {broken}"
        raise TrainingError(
            f"The model's logits are not finite{why}; its training diverged or its file is damaged, so take another "
            "model."
        )
    return logits


def outputs_of(model: nn.Module, splits: Splits, compute: Compute) -> Outputs:
    """Logits on all of a data set, in the data's order."""
    holdout = None if splits.holdout is None else part_of(model, splits.holdout, compute)
    return Outputs(part_of(model, splits.train, compute), part_of(model, splits.test, compute), holdout)


def part_of(model: nn.Module, data: ImageData, compute: Compute) -> Part:
    """Logits and labels of one split."""
    logits = logits_of(model, data, torch.arange(len(data)), compute)
    fine = None if data.fine is None else np.asarray(data.fine.labels)
    return Part(logits.cpu().numpy(), np.asarray(data.labels), fine)


def sample_losses(logits_NC: FloatArray, labels_N: IntArray) -> FloatArray:
    """Cross-entropy of each sample, float32 ``(N,)``, in nats."""
    losses = nn.functional.cross_entropy(torch.from_numpy(logits_NC), torch.from_numpy(labels_N), reduction="none")
    return np.asarray(losses.numpy(), np.float32)
