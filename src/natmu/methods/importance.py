"""Methods that dampen the weights that matter far more for the forget set than for all data."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from natmu.data.batches import plain
from natmu.engine.batch_gradients import mean_over_batches
from natmu.engine.gradients import SampleLoss, mean_over_samples, trainable
from natmu.errors import ModelError, SettingError, TrainingError
from natmu.methods import published
from natmu.methods.base import Method, Paper
from natmu.methods.problem import Problem
from natmu.types import Settings


class DampeningSettings(Settings):
    """Settings of the methods in this file."""

    alpha: float | None = Field(
        None,
        gt=0,
        le=1e9,
        description="a weight is selected if it is this many times more important for D_f than for D; 10 if none. With "
        "importance_batch=1 it must be below |D| / |D_f|, and if none it is 10 or half of that, whichever is less",
    )
    dampening: float = Field(1, ge=0, le=1e9, description="the paper's lambda: larger leaves more of a selected weight")
    data_fraction: float = Field(1, gt=0, le=1, description="evenly spread fraction of D to take its importances on")
    importance_batch: int = Field(
        128, ge=1, le=65536, description="samples whose mean loss is differentiated at once; 1 for each on its own"
    )


class _Dampening(Method):
    """What SSD and its loss-free form share: select by the ratio of two importances, and shrink what is selected."""

    stochastic = False
    transform: ClassVar[Callable[[Tensor], Tensor]]
    Config = DampeningSettings

    @staticmethod
    @abstractmethod
    def function(logits: Tensor, label: Tensor) -> Tensor:
        """What is differentiated, for one sample: logits ``(C,)`` and a scalar label to a scalar."""

    def check(self, problem: Problem) -> None:
        """Refuse an ``alpha`` that no weight can reach, and a model without a weight that may change."""
        super().check(problem)
        config, limit = self.config, _largest_ratio(problem)
        bounded = config.data_fraction == config.importance_batch == 1
        if bounded and config.alpha is not None and config.alpha >= limit:
            raise SettingError(
                f"{self.name}: alpha must be below {limit:.4g}(the size of the data divided by that of the forget "
                f"set), not {config.alpha:g}. No weight can be more important for a part than that many times its "
                "importance for all."
            )
        if not trainable(problem.model):
            raise ModelError(f"{self.name}: every weight is frozen; set requires_grad of those that may change.")

    def run(self, problem: Problem) -> nn.Module:
        """Take both importances, then dampen; nothing is trained."""
        config = self.config
        everything = torch.cat([problem.retain_positions, problem.forget_positions]).sort().values
        share = max(1, round(config.data_fraction * len(everything)))
        spread = self._in_order(problem, everything[torch.arange(share) * len(everything) // share])
        of_all, of_forget = (self._importances(problem, part) for part in (spread, problem.forget_positions))
        usual = min(10.0, _largest_ratio(problem) / 2) if config.importance_batch == 1 else 10.0
        alpha = usual if config.alpha is None else config.alpha
        with torch.no_grad():
            for weight, on_all, on_forget in zip(trainable(problem.model), of_all, of_forget, strict=True):
                weight.mul_(dampening(on_all, on_forget, alpha, config.dampening))
        return problem.model

    def _in_order(self, problem: Problem, positions: Tensor) -> Tensor:
        """The order in which the official code fills its batches: by class where classes are forgotten, D_f last."""
        forgotten = torch.isin(positions, problem.forget_positions)
        retain = positions[~forgotten]
        if self.needs_labels and problem.forget.class_wise:
            fine = problem.data.fine if problem.forget.scenario == "subclass" else None
            kinds = problem.data.labels if fine is None else fine.labels
            retain = retain[kinds[retain].argsort(stable=True)]
        return torch.cat([retain, positions[forgotten]])

    def _importances(self, problem: Problem, positions: Tensor) -> list[Tensor]:
        """One number per weight that may change, on the samples at these positions.

        Raises:
            TrainingError: A gradient is not finite.
        """
        samples = plain(positions, problem.labels(positions), augment=False)
        function: SampleLoss = type(self).function
        model, data, compute, change = problem.model, problem.data, problem.compute, type(self).transform
        if self.config.importance_batch == 1:
            found = mean_over_samples(model, data, samples, compute, function, change)
        else:
            found = mean_over_batches(model, data, samples, self.config.importance_batch, compute, function, change)
        if not all(bool(torch.isfinite(values).all()) for values in found):
            raise TrainingError(
                f"{self.name}: an importance is not finite, with {self.config!r}; the model's weights are damaged."
            )
        return found


class SSD(_Dampening):
    """Dampen the weights whose Fisher importance for the forget set is far above that for all data.

    The importance of a weight on a set of samples is a mean over batches: of the squared gradient of the batch's mean
    cross-entropy. Batches of one sample (``importance_batch=1``) give the diagonal of the empirical Fisher information.
    With ``I_D`` on all training data and ``I_f`` on the forget set, each weight with ``I_f > alpha I_D`` is multiplied
    by ``min(lambda I_D / I_f, 1)``, and all others stay as they are. Nothing is trained.

    When to use:
        When a quick result is wanted and the forget set is a small part of the data that has weights of its own: a
        class of many, or a sub-class. A smaller ``alpha`` forgets more and loses more accuracy. Search it, which is
        cheap with this method. For a class of the digits (one seed) the published 10 selected no weight, so nothing
        changed; 2 forgot the class.

    Cost:
        One forward and backward pass over D and one over D_f; ``data_fraction`` shortens the first. Memory for three
        numbers per weight, in double precision. With ``importance_batch=1`` a gradient per sample, several times as
        dear, and memory for the gradients of one chunk of samples.

    Decisions:
        - The paper defines the importance by the gradient of each sample. Its code, with which its ``alpha`` was found,
          squares the gradients of mean losses of batches: 128 samples where random samples are forgotten, 64 where
          classes are. Gradients of samples cancel at a minimum, so those of batches are smaller, but less so on a
          forget set whose samples are alike. The default is the code's form; ``importance_batch=1`` is the paper's. The
          same ``alpha`` selects very different numbers of weights in the two.
        - D is retain and forget set together, as in the paper. Batches take the retain set before the forget set, and
          class by class where classes are forgotten, because the code builds its data so. The last batch is smaller and
          counts as much as the others.
        - Per sample, ``I_f`` is never above ``|D| / |D_f|`` times ``I_D``. So an ``alpha`` of 10 selects nothing if a
          tenth of the data or more is forgotten. Per sample the default is therefore 10 or half of that bound,
          whichever is less, and an ``alpha`` above the bound is refused.
        - ``alpha`` and ``dampening`` are the code's ``selection_weighting`` and ``dampening_constant``; its
          ``exponent`` and ``lower_bound``, always 1, are left out.
        - Images are shown un-augmented, to the model in eval mode, and gradients are in full precision whatever the
          precision of training. Running statistics of batch normalisation are not weights, and stay.
        - ``data_fraction`` is ours. Its samples are spread evenly over D, so that no seed changes the result.

    References:
        Fast Machine Unlearning Without Retraining Through Selective Synaptic Dampening (Jack Foster, Stefan Schoepf,
        Alexandra Brintrup, 2024), https://arxiv.org/abs/2308.07707

    Examples:
        >>> from natmu.testing import problem_for
        >>> unlearned = SSD(alpha=1.05, importance_batch=7)(problem_for("random"))
        >>> round(unlearned.passes.passes, 1)  # over the training set
        1.2
    """

    name = "ssd"
    paper = Paper("Selective Synaptic Dampening", "Foster et al.", 2024, "https://arxiv.org/abs/2308.07707")
    transform = torch.square
    presets = published.SSD

    @staticmethod
    def function(logits: Tensor, label: Tensor) -> Tensor:
        """Cross-entropy of one sample."""
        return functional.cross_entropy(logits, label)


class LFSSD(_Dampening):
    """Dampen the weights that change the predictions on the forget set far more than those on all data, without labels.

    As ``ssd``, with another importance: the mean over batches of the absolute gradient of the mean of ``||f(x)||^2``,
    the squared length of the model's logits. Each weight with ``I_f > alpha I_D`` is multiplied by ``min(lambda I_D /
    I_f, 1)``, and all others stay as they are. Nothing is trained.

    When to use:
        In place of ``ssd`` where labels are missing or wrong, or where the model fits its data so closely that the
        gradients of the loss vanish. The length of the logits has a gradient at every sample. Search ``alpha`` as for
        ``ssd``: too large a value selects no weight, and nothing changes.

    Cost:
        As ``ssd``: one forward and backward pass over D and one over D_f; ``data_fraction`` shortens the first. Memory
        for three numbers per weight, in double precision. With ``importance_batch=1`` a gradient per sample, several
        times as dear, and memory for the gradients of one chunk of samples.

    Decisions:
        - The paper takes the absolute value of the gradient of each sample. The authors published this method's code
          with a later paper (Schoepf et al., 2024, https://arxiv.org/abs/2406.09173), where the gradient is that of a
          batch's mean, as in ``ssd``. This is the default; ``importance_batch=1`` is the paper's.
        - Batches take the retain set in the order of the data, and then the forget set: labels are not read.
        - ``f(x)`` is the logits, before the softmax.
        - Absolute values spread over fewer powers of ten than squares, so the same ``alpha`` selects fewer weights
          than with ``ssd``.
        - For the bound on ``alpha``, its default, ``data_fraction`` and eval mode, see ``ssd``.

    References:
        Loss-Free Machine Unlearning (Jack Foster, Stefan Schoepf, Alexandra Brintrup, 2024),
        https://arxiv.org/abs/2402.19308

    Examples:
        >>> from natmu.testing import problem_for
        >>> unlearned = LFSSD(alpha=1.05, importance_batch=7)(problem_for("random"))
        >>> round(unlearned.passes.passes, 1)  # over the training set
        1.2
    """

    name = "lfssd"
    paper = Paper("Loss-Free Machine Unlearning", "Foster et al.", 2024, "https://arxiv.org/abs/2402.19308")
    needs_labels = False
    transform = torch.abs

    @staticmethod
    def function(logits: Tensor, label: Tensor) -> Tensor:  # noqa: ARG004
        """Squared length of one sample's logits."""
        return logits.square().sum()


def dampening(on_all: Tensor, on_forget: Tensor, alpha: float, strength: float) -> Tensor:
    """What each weight is multiplied by: ``min(strength I_D / I_f, 1)`` where ``I_f > alpha I_D``, else 1.

    Args:
        on_all: Importances ``I_D`` on all data, not negative.
        on_forget: Importances ``I_f`` on the forget set, of the same shape.
        alpha: Ratio above which a weight is selected.
        strength: The paper's lambda.

    Returns:
        Factors between 0 and 1, of the same shape.
    """
    factors = (strength * on_all / on_forget).clamp(max=1)
    return torch.where(on_forget > alpha * on_all, factors, torch.ones_like(factors))


def _largest_ratio(problem: Problem) -> float:
    """The most that a mean over the forget set can be of the mean over all data, where nothing is negative."""
    forget = len(problem.forget_positions)
    return (forget + len(problem.retain_positions)) / forget
