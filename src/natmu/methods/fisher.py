"""Methods that hide the forget set under noise, where the retain set does not feel it."""

from __future__ import annotations

import math

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from natmu.data.batches import plain
from natmu.engine import processes
from natmu.engine.gradients import SampleLoss, mean_over_samples
from natmu.errors import ModelError, TrainingError
from natmu.methods.base import Method, Paper
from natmu.methods.problem import Problem
from natmu.methods.settings import RetainSettings
from natmu.types import Settings, seed_for


class Fisher(Method):
    """Add normal noise to each weight, the more the less the retain set's predictions depend on it.

    The noise of weight ``i`` has the standard deviation ``(alpha / F_i)^(1/4)``, where ``alpha`` stands for the paper's
    ``λ σ²`` and ``F`` is the diagonal of the Fisher information of the model on the retain set. Nothing is trained.

    When to use:
        As the baseline that forgets by destroying: it needs neither the forget samples nor any labels. It works best
        where the forget set has weights of its own, so for classes more than for random samples, and at a price in
        accuracy. ``alpha`` and ``cap`` have to be searched for each model: the Fisher information of one that fits its
        training set closely is smaller by orders of magnitude than that of one that does not. In a small network
        ``alpha`` decides; in a large one most weights matter so little that their noise is ``cap``.

    Cost:
        ``draws`` forward and backward passes over D_r with a gradient per sample, none over D_f; memory for the
        gradients of one chunk of samples and for one number per weight.

    Decisions:
        - The scale follows the paper. Its code, and the code of SalUn after it, draw noise of *variance*
          ``alpha / F``; enlarge it for the head and for one-dimensional weights, and average it over each filter.
        - The Fisher information is that of the model's own predictions, with a gradient per sample, as in the paper and
          in its code, which goes through all C labels of each sample; with ``draws`` of C and above this is done here
          too. (The code of Jia et al., 2023, squares the mean gradient of batches of 32.) C labels take C backward
          passes; fewer ``draws`` are drawn evenly, whatever their probability, and weighted by it. This is unbiased,
          and unlike labels drawn from the predictions it sees the rare labels, which the information of a confident
          model consists of.
        - Where ``F`` is 0 the rule asks for infinite noise; the code limits the variance by a constant. Here the
          deviation is at most ``cap`` times the root mean square of the weights of the same tensor, so that the limit
          means the same in all layers. A tensor of zeros stays as it is.
        - The code sets the head's row to 0 when a class is forgotten, so that the class is never predicted whatever
          the noise does. That is no part of the paper's rule, and it is not done here.
        - Gradients are taken in eval mode. Batch normalisation's scale and shift are weights like all others; its
          running statistics are none, and stay as they are.

    References:
        Eternal Sunshine of the Spotless Net: Selective Forgetting in Deep Networks (Aditya Golatkar, Alessandro
        Achille, Stefano Soatto, 2020), https://arxiv.org/abs/1911.04933

    Examples:
        >>> from natmu.testing import problem_for
        >>> unlearned = Fisher()(problem_for("random"))
        >>> round(unlearned.passes.passes, 1)  # over the training set
        0.8
    """

    name = "fisher"
    paper = Paper("Eternal Sunshine of the Spotless Net", "Golatkar et al.", 2020, "https://arxiv.org/abs/1911.04933")
    needs_labels = False

    class Config(Settings):
        """Settings of ``fisher``."""

        alpha: float = Field(1e-7, gt=0, le=1, description="fourth power of a weight's noise times its information")
        cap: float = Field(0.3, gt=0, le=100, description="most noise, in root mean squares of a tensor's weights")
        draws: int = Field(1, ge=1, le=100_000, description="labels per sample; the number of classes is exact")
        retain_fraction: float = Field(1, gt=0, le=1, description="random share of the retain set to take gradients on")

    def check(self, problem: Problem) -> None:
        """Refuse a model without a weight that may change."""
        super().check(problem)
        if not any(parameter.requires_grad for parameter in problem.model.parameters()):
            raise ModelError("fisher: every weight of the model is frozen; set requires_grad of those that may change.")

    def run(self, problem: Problem) -> nn.Module:
        """Estimate the Fisher information, then add the noise."""
        config = self.config
        information = fisher_information(problem, config.draws, config.retain_fraction)
        if not all(bool(torch.isfinite(values).all()) for values in information):
            shown = ", ".join(f"{name}={value}" for name, value in config.model_dump().items())
            raise TrainingError(
                f"fisher: a gradient on the retain set is not finite at step 1, the only one; the weights of the "
                f"original are damaged or diverged. Settings: {shown}."
            )
        weights = [parameter for parameter in problem.model.parameters() if parameter.requires_grad]
        generator = torch.Generator().manual_seed(seed_for(problem.seed, "noise"))
        with torch.no_grad():
            for weight, known in zip(weights, information, strict=True):
                normal = torch.randn(weight.shape, generator=generator).to(weight.device)
                weight.add_(normal * noise_scale(known, weight, config.alpha, config.cap))
        processes.same_everywhere(weights)
        return problem.model


def fisher_information(problem: Problem, draws: int, retain_fraction: float) -> list[Tensor]:
    """Diagonal of the Fisher information on the retain set, in eval mode.

    ``E_x Σ_c p_c(x) (∂ log p_c(x) / ∂θ)²``, estimated with some labels ``c`` of each sample ``x``, each label being as
    likely as any other to be among them.

    Args:
        problem: Of which the model is the one whose information is wanted.
        draws: Labels per sample, different ones; from the number of classes on, the result is exact.
        retain_fraction: Share of the retain set, ``(0, 1]``.

    Returns:
        One tensor per parameter that requires a gradient, in the parameter's shape.
    """
    retain = problem.retain_samples(RetainSettings(retain_fraction=retain_fraction))
    classes = problem.data.num_classes
    draws = min(draws, classes)
    first = torch.from_numpy(problem.rng("labels").integers(0, classes, len(retain)))
    total: list[Tensor] = []
    for draw in range(draws):
        samples = plain(retain.positions, (first + draw) % classes, augment=False)
        squares = mean_over_samples(
            problem.model, problem.data, samples, problem.compute, information_loss(classes / draws), torch.square
        )
        total = [one + other for one, other in zip(total, squares, strict=True)] if total else squares
    return total


def information_loss(weight: float) -> SampleLoss:
    """A loss whose squared gradient is ``weight · p_c (∂ log p_c / ∂θ)²`` for label ``c``.

    >>> logits = torch.zeros(4, requires_grad=True)
    >>> information_loss(2.0)(logits, torch.tensor(1)).backward()
    >>> logits.grad.square()
    tensor([0.0312, 0.2812, 0.0312, 0.0312])
    """

    def loss(logits: Tensor, label: Tensor) -> Tensor:
        log_p = -functional.cross_entropy(logits, label)
        return log_p * math.sqrt(weight) * (log_p.detach() / 2).exp()

    return loss


def noise_scale(information: Tensor, weight: Tensor, alpha: float, cap: float) -> Tensor:
    """Standard deviation of the noise: ``(alpha / F)^(1/4)``, and at most ``cap`` root mean squares of the weights.

    >>> noise_scale(torch.tensor([1.0, 16.0, 0.0]), torch.tensor([3.0, -3.0, 3.0]), 1.0, 0.5)
    tensor([1.0000, 0.5000, 1.5000])
    """
    return (alpha / information).pow(0.25).clamp(max=cap * weight.square().mean().sqrt())
