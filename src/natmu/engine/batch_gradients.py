"""Gradients of the mean loss of whole batches, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import vmap

from natmu.data.batches import Samples, render
from natmu.data.images import ImageData
from natmu.engine import processes
from natmu.engine.compute import Compute
from natmu.engine.gradients import SampleLoss, exact, trainable
from natmu.engine.predict import evaluation_batch
from natmu.progress import task


def mean_over_batches(
    model: nn.Module,
    data: ImageData,
    samples: Samples,
    batch_size: int,
    compute: Compute,
    function: SampleLoss,
    transform: Callable[[Tensor], Tensor],
) -> list[Tensor]:
    """The mean over batches of a function of the gradient of each batch's mean loss, such as its square.

    Much code takes this for the mean over samples of the function of each one's gradient, which is larger: gradients
    of different samples cancel within a batch. It is one backward pass per batch, in eval mode and fp32 whatever the
    precision of training. Sums over batches are in fp64. Several processes share the work, and each has the same
    result.

    Args:
        model: On the device; it is as before afterwards.
        data: Source of the images.
        samples: The rows, at least one, shown un-augmented; each batch takes the next of them in their order.
        batch_size: Rows of a batch; the last one takes what is left and counts as much as the others.
        compute: The device.
        function: Loss of one sample.
        transform: Applied to each weight's gradient, element by element.

    Returns:
        float32 of the shape of each parameter that requires a gradient, in the order of ``trainable``.
    """
    device, weights = compute.device, trainable(model)
    shown = Samples(samples.positions.to(device), samples.labels.to(device), samples.augmented)
    batches = torch.split(torch.arange(len(samples), device=device), batch_size)
    own = batches[processes.rank() :: processes.count()]
    totals = [torch.zeros_like(weight, dtype=torch.float64, requires_grad=False) for weight in weights]
    with task("gradients", len(own)) as advance, exact(model, compute):
        for rows in own:
            for total, gradient in zip(totals, _of_mean(model, data, shown, rows, function), strict=True):
                total.add_(transform(gradient))
            advance()
    means = [processes.total(total).div_(len(batches)).float() for total in totals]
    processes.same_everywhere(means)
    return means


def _of_mean(model: nn.Module, data: ImageData, samples: Samples, rows: Tensor, function: SampleLoss) -> list[Tensor]:
    """The gradient of the mean loss of some rows, a part of them after the other where they are many."""
    weights = trainable(model)
    total = [torch.zeros_like(weight, requires_grad=False) for weight in weights]
    for part in torch.split(rows, evaluation_batch(data)):
        losses = vmap(function)(model(render(data, samples, part)).float(), samples.labels[part])
        found = torch.autograd.grad(losses.sum() / len(rows), weights, materialize_grads=True)
        total = [one + other for one, other in zip(total, found, strict=True)]
    return total
