"""The gradient of a loss over a whole set of samples, shared by the methods that choose weights by it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from natmu.data.batches import Samples, render
from natmu.engine import processes
from natmu.engine.modes import evaluating
from natmu.engine.predict import evaluation_batch
from natmu.methods.problem import Problem


def summed_gradient(problem: Problem, samples: Samples) -> list[Tensor]:
    """The gradient of the original's cross-entropy summed over a derived data set, un-augmented and in eval mode.

    Every one of several processes computes all of it, and takes what the first has found: a last bit that differs would
    let them choose other weights.

    Args:
        problem: Of which the model is asked; it is as before afterwards.
        samples: The rows and their labels.

    Returns:
        One tensor per parameter, in the model's order; zeros for those that require no gradient.
    """
    model, device = problem.model, problem.compute.device
    rows_on_device = Samples(samples.positions.to(device), samples.labels.to(device), samples.augmented)
    model.zero_grad(set_to_none=True)
    with evaluating(model):
        for rows in torch.split(torch.arange(len(samples), device=device), evaluation_batch(problem.data)):
            with problem.compute.autocast():
                logits = model(render(problem.data, rows_on_device, rows)).float()
                loss = functional.cross_entropy(logits, rows_on_device.labels[rows], reduction="sum")
            loss.backward()  # type: ignore[no-untyped-call]
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in model.parameters()]
    processes.same_everywhere(gradients)
    model.zero_grad(set_to_none=True)
    return gradients
