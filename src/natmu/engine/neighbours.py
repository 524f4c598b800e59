"""How often a model is still right when an image is changed a little."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from natmu.data.images import ImageData
from natmu.data.inputs import InputRange, inputs
from natmu.engine.compute import Compute
from natmu.engine.modes import evaluating
from natmu.engine.predict import evaluation_batch
from natmu.types import IntArray, seed_for


@torch.inference_mode()
def right_nearby(
    model: nn.Module, data: ImageData, positions: Tensor, compute: Compute, *, radius: float, draws: int
) -> IntArray:
    """Count the neighbours of each image that a model gives the image's label.

    A neighbour is drawn uniformly from all images whose pixels differ by ``radius`` at most, and cut to the range of
    the data. The draws depend on nothing but shapes and range: every model is asked about the same neighbours, on every
    device.

    Args:
        model: On the device; each of its modules is left in the mode it came in.
        data: Source of the images.
        positions: int64 ``(M,)``.
        compute: Device and precision.
        radius: Largest change of a pixel, in units of the range of its channel.
        draws: Neighbours of each image.

    Returns:
        int64 ``(M,)``, 0 to ``draws``.
    """
    generator = torch.Generator().manual_seed(seed_for(0, "neighbours"))
    span = InputRange.of(data, compute.device)
    counts = [torch.zeros(0, dtype=torch.int64)]
    with evaluating(model), compute.kernels(), compute.autocast():
        for rows in torch.split(positions, evaluation_batch(data)):
            images = inputs(data.take(rows).to(compute.device))
            labels, right = data.labels[rows].to(compute.device), torch.zeros(len(rows), device=compute.device)
            for _ in range(draws):
                change = torch.rand(images.shape, generator=generator).mul_(2 * radius).sub_(radius)
                right += model(span.clip(images + change.to(compute.device) * span.width)).argmax(1) == labels
            counts.append(right.long().cpu())
    return torch.cat(counts).numpy()
