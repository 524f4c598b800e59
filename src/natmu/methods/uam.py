"""The method that follows the retain loss's gradient at weights that are worse for the forget set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from natmu.data.batches import Batch, plain
from natmu.data.sharing import steps_of
from natmu.engine import processes
from natmu.engine.functional import called_with
from natmu.engine.schedule import lr_factor
from natmu.engine.step import Gradients
from natmu.methods.base import Method, Paper, fine_tune
from natmu.methods.directions import norm_of
from natmu.methods.presets import Preset
from natmu.methods.problem import Problem
from natmu.methods.settings import SGDRetainSettings
from natmu.methods.step_values import step_values
from natmu.records.settings import Schedule

SMALLEST = 1e-16
"""Added to the norm that a gradient is divided by, as in the authors' code."""


class UAM(Method):
    """Descend the retain loss with its gradient at a point where the forget loss is higher.

    Each step takes the gradient ``g_f`` of CE(D_f) and goes from the weights ``w`` to ``w + rho g_f / ‖g_f‖``, where
    the forget loss is highest within ``rho``, to first order. The optimiser follows, from ``w``, the gradient ``g_r``
    that CE(D_r) has there, without its component along ``g_f`` where that would lower the forget loss. Meanwhile
    ``rho`` falls to 0.

    When to use:
        With retain data at hand, where methods that climb the forget loss do too much harm: no step follows that loss
        itself. ``rho`` decides how much is forgotten, and has to be searched for each model: memorised samples of the
        digits (one seed) stayed as they were with the default of 0.1, and were forgotten with 4.

    Cost:
        Per epoch, two forward passes and one backward pass over D_r, and a forward and a backward pass over as many
        rows of D_f: about twice fine-tuning. Memory for two more copies of the weights, and for the activations of both
        batches at once.

    Decisions:
        - The authors' code, in all of its published versions, has a function that removes a component of a gradient
          where two gradients are opposed, with ``gamma`` as here, but never calls it: its optimiser follows all of
          ``g_r``. At the raised weights ``g_r`` points down the forget loss too, so that on the digits the forget set
          was learnt even better in this way. So the component is removed by default, with all weights taken as one
          vector; ``projection=false`` is the code's rule.
        - As in the code, the forget loss is computed on a batch that holds the rows of both sets, in training mode, so
          that batch normalisation sees both. The retain rows are then seen once more, alone, at the raised weights.
          Running statistics follow both passes. A single forget sample can be forgotten in this way.
        - The defaults are the code's: ``rho`` 0.1, which falls along a cosine at every step, and SGD at 0.01 for 5
          epochs. The code does not have the rates of the paper.
        - An epoch is a pass over the retain set. In the code it is a pass over the larger set, and the smaller set is
          repeated in the same order. Weight decay is taken at ``w``.
        - The history shows the retain loss at the raised weights.

    References:
        Unlearning-Aware Minimization (Hoki Kim, Keonwoo Kim, Sungwon Chae, Sangwon Yoon, 2025),
        https://openreview.net/forum?id=kAuckbcMvi

    Examples:
        >>> from natmu.testing import problem_for
        >>> unlearned = UAM(epochs=2)(problem_for("random"))
        >>> round(unlearned.passes.passes, 1)  # over the training set
        4.4
    """

    name = "uam"
    paper = Paper("Unlearning-Aware Minimization", "Kim et al.", 2025, "https://openreview.net/forum?id=kAuckbcMvi")
    presets: ClassVar[Mapping[str, Preset]] = {
        "torchunlearn": Preset(
            {"projection": False},
            "Harry24k/machine-unlearning-pytorch, torchunlearn/optim/minimizer.py, lines 152-195, and its rates of "
            "60c9024; CIFAR-10, ResNet-18",
        )
    }

    class Config(SGDRetainSettings):
        """Settings of ``uam``; the defaults are those of the authors' code for CIFAR-10 and ResNet-18."""

        epochs: int = Field(5, ge=1, le=100_000, description="passes over the retain set")
        rho: float = Field(0.1, gt=0, le=1000, description="length of the step up the forget loss")
        rho_schedule: Schedule = Field("cosine", description="schedule of rho over the run")
        projection: bool = Field(
            True, description="remove the part of the retain gradient that would lower the forget loss"
        )
        gamma: float = Field(
            0, ge=0, le=1000, description="how many times more than that part is removed; 1 mirrors it"
        )
        augment_forget: bool = Field(False, description="random crop and flip of forget images")

    def run(self, problem: Problem) -> nn.Module:
        """Train on pairs of batches."""
        config, retain = self.config, problem.retain_samples(self.config)
        length = steps_of(len(retain), problem.batch_size, processes.count())
        steps = config.epochs * length
        first = 0 if config.rho_schedule == "cosine" else 1  # the code's cosine of rho begins at its top
        lengths = [config.rho * lr_factor(config.rho_schedule, step + first, steps) for step in range(steps)]
        radius = step_values(lengths, length, problem.compute.device)
        uphill: Gradients = []

        def loss(model: nn.Module, batch: Batch) -> Tensor:
            assert batch.paired is not None
            weights = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
            uphill[:] = forget_gradient(model, list(weights.values()), batch, batch.paired)
            factor = radius(batch.epoch) / (norm_of(uphill) + SMALLEST)
            raised = {name: weight + factor * up for (name, weight), up in zip(weights.items(), uphill, strict=True)}
            return functional.cross_entropy(called_with(model, raised, batch.images).float(), batch.labels)

        def direction(terms: Sequence[Gradients]) -> Gradients:
            return without_descent(terms[0], uphill, config.gamma)

        positions = problem.forget_positions
        forget = plain(positions, problem.labels(positions), augment=config.augment_forget)
        return fine_tune(self, problem, retain, loss, paired=forget, direction=direction if config.projection else None)


def forget_gradient(model: nn.Module, weights: Sequence[Tensor], retain: Batch, forget: Batch) -> Gradients:
    """The gradient of the forget rows' mean cross-entropy, where the model sees the rows of both sets together.

    Args:
        model: In training mode.
        weights: Of which the gradient is wanted.
        retain: Rows that are seen, and not learnt.
        forget: Rows whose loss it is. With several processes it is that of the rows of all.
    """
    logits = model(torch.cat([forget.images, retain.images])).float()
    loss = forget.weight * functional.cross_entropy(logits[: len(forget.labels)], forget.labels)
    gradient = list(torch.autograd.grad(loss, weights, materialize_grads=True))
    processes.average(gradient)
    return gradient


def without_descent(gradient: Gradients, uphill: Gradients, gamma: float = 0) -> Gradients:
    """A gradient less its component along another, where they agree, each taken as one vector.

    Args:
        gradient: Whose descent is not to lower the loss that ``uphill`` is the gradient of.
        uphill: Where it is zero, nothing is removed.
        gamma: The component is removed ``1 + gamma`` times.
    """
    product, square = (
        torch.stack([(ours * theirs).sum() for ours, theirs in zip(one, uphill, strict=True)]).sum()
        for one in (gradient, uphill)
    )
    share = (1 + gamma) * torch.where(square == 0, 0, product / square).clamp(min=0)
    return [ours - share * theirs for ours, theirs in zip(gradient, uphill, strict=True)]
