"""Methods that train on the retain set alone and leave the forgetting to neglect."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from natmu.data.batches import Batch
from natmu.methods import published
from natmu.methods.base import Method, Paper, fine_tune
from natmu.methods.problem import Problem
from natmu.methods.settings import SGDRetainSettings


class FineTune(Method):
    """Go on training on the retain set, and count on the forget set to fade.

    The loss is the cross-entropy on the retain set. Nothing pushes the forget set out: what is not rehearsed is
    overwritten at the pace of the learning rate.

    When to use:
        As the first baseline of every comparison: a method that does not beat it is not worth its complexity. With a
        large learning rate it forgets whole classes; single samples that resemble retained ones it hardly forgets.

    Cost:
        ``epochs`` forward and backward passes over D_r; D_f is never read. No extra memory.

    Decisions:
        - The paper compares with fine-tuning without giving settings; the defaults are those of the code of Jia et al.
          (2023) and Fan et al. (2024): SGD with momentum 0.9, rate 0.01, weight decay 5e-4, ten epochs.
        - The rate is constant and retain images are not augmented by default, as in the other methods here that
          fine-tune with SGD, so that they differ by their rule alone.

    References:
        Machine Unlearning of Features and Labels (Alexander Warnecke, Lukas Pirch, Christian Wressnegger, Konrad Rieck,
        2021), https://arxiv.org/abs/2108.11577

    Examples:
        >>> from natmu.testing import problem_for
        >>> unlearned = FineTune(epochs=2)(problem_for("random"))
        >>> round(unlearned.passes.passes, 1)  # over the training set
        1.6
    """

    name = "finetune"
    paper = Paper(
        "Machine Unlearning of Features and Labels", "Warnecke et al.", 2021, "https://arxiv.org/abs/2108.11577"
    )
    presets = published.FINETUNE

    class Config(SGDRetainSettings):
        """Settings of ``finetune``."""

    def run(self, problem: Problem) -> nn.Module:
        """Fine-tune on the retain set."""
        return fine_tune(self, problem, problem.retain_samples(self.config))


class L1Sparse(Method):
    """Fine-tune on the retain set with an L1 penalty on all weights that fades away.

    The loss is the cross-entropy on the retain set plus ``λ_t ‖θ‖₁``, where ``λ_t`` falls linearly from ``l1`` in the
    first epoch to ``l1 / epochs`` in the last, and would be 0 in the one after it. A sparse model has less room to
    remember single samples by.

    When to use:
        Where plain fine-tuning forgets too little and some accuracy can be spared: a larger ``l1`` forgets more. The
        penalty grows with the number of weights, so ``l1`` is searched for each architecture.

    Cost:
        ``epochs`` forward and backward passes over D_r; D_f is never read. The penalty adds one pass over the weights
        to each step, and while it lasts memory for one more copy of them.

    Decisions:
        - The penalty is part of the loss, on every parameter that may move, those of normalisation too, as in the
          paper's code; the subgradient at 0 is 0. With adam and adamw it passes through their scaling like the rest.
        - ``λ_t`` changes between epochs, not steps, as in the paper's code, which can also end it some epochs before
          the last; here it ends with the last.
        - No weight becomes exactly 0 but by chance: gradient steps cross 0 rather than stop at it. The paper prunes
          nothing either; sparse means small.

    References:
        Model Sparsity Can Simplify Machine Unlearning (Jinghan Jia, Jiancheng Liu, Parikshit Ram, Yuguang Yao, Gaowen
        Liu, Yang Liu, Pranay Sharma, Sijia Liu, 2023), https://arxiv.org/abs/2304.04934

    Examples:
        >>> from natmu.testing import problem_for
        >>> unlearned = L1Sparse(epochs=2)(problem_for("random"))
        >>> round(unlearned.passes.passes, 1)  # over the training set
        1.6
    """

    name = "l1_sparse"
    paper = Paper(
        "Model Sparsity Can Simplify Machine Unlearning", "Jia et al.", 2023, "https://arxiv.org/abs/2304.04934"
    )
    presets = published.L1_SPARSE

    class Config(SGDRetainSettings):
        """Settings of ``l1_sparse``."""

        l1: float = Field(5e-4, gt=0, le=1, description="weight of the L1 norm in the first epoch")

    def run(self, problem: Problem) -> nn.Module:
        """Fine-tune on the retain set with the penalty."""
        weights: list[Tensor] = [parameter for parameter in problem.model.parameters() if parameter.requires_grad]

        def loss(model: nn.Module, batch: Batch) -> Tensor:
            fit_to_data = functional.cross_entropy(model(batch.images).float(), batch.labels)
            return fit_to_data + penalty_weight(self.config.l1, batch.epoch, self.config.epochs) * l1_norm(weights)

        return fine_tune(self, problem, problem.retain_samples(self.config), loss)


def penalty_weight(first: float, epoch: int, epochs: int) -> float:
    """λ of an epoch, counted from 0: linear from its first value to 0, which it has after the last epoch."""
    return first * (1 - epoch / epochs)


def l1_norm(weights: list[Tensor]) -> Tensor:
    """The sum of all absolute values, float32, in a few operations however many tensors there are."""
    return torch.stack([norm.float() for norm in torch._foreach_norm(weights, 1)]).sum()
