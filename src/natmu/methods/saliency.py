"""Methods that move only the weights that matter most for the forget set."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from natmu.data.batches import Samples, joined, plain
from natmu.methods import published
from natmu.methods.base import Method, Paper, fine_tune
from natmu.methods.dual_optim import DualOptimSettings, second_optimizer
from natmu.methods.labels import relabelled
from natmu.methods.problem import Problem
from natmu.methods.set_gradients import summed_gradient
from natmu.methods.settings import FineTuneSettings


class SalUn(Method):
    """Relabel the forget set, and let only the weights with the largest gradients of its loss move.

    The salient weights are the ``threshold`` of all weights with the largest absolute gradient of the cross-entropy
    summed over the forget set, with true labels, in eval mode. They alone are fine-tuned, on the retain set and the
    forget set with wrong labels, as ``amnesiac`` draws them. All other weights stay as they are to the bit.

    When to use:
        Where relabelling alone does too much harm: what is not salient cannot be damaged. It needs a search, because a
        good ``threshold`` ranges from 0.01 to 0.7 between data sets. Like all relabelling it leaves the trace of wrong
        labels.

    Cost:
        One forward and backward pass over D_f for the gradients, then ``epochs`` over D_r and D_f together; memory for
        a copy of the weights and a byte for each.

    Decisions:
        - Weights outside the mask are put back after each step, as in the official code since February 2026. Before,
          and in the research code of NatMU, only their gradients were masked, and weight decay moved them. (Momentum
          alone does not, because it is made of masked gradients.) Running statistics of batch normalisation are not
          weights, and follow the data.
        - ``threshold`` is the fraction that may move, as in the research code of NatMU. The top is taken over all
          weights together; equal gradients never let more weights move than that.
        - Every forget sample counts the same. That code adds up the means of batches of 500. For the published sets,
          whose sizes are multiples of 500, this is the same.
        - The code of NatMU draws one wrong label once and for all, the default here. The official code draws a label
          from all classes at each visit, so one visit in C teaches the true label: ``relabel=any``. ``each_epoch``
          draws anew from the wrong classes.
        - On CIFAR-10 the official code goes through the forget set first, then through the retain set, in each epoch
          (``order=forget_first``). On CIFAR-100 and Tiny-ImageNet it shuffles both together, and so does the code of
          NatMU. With ``forget_first`` the history has one row for each of the two passes, and errors of training count
          them.
        - Forget images are shown as they are; the official code crops and flips them too.
        - With ``forget_lr`` (DualOptim) both passes are separate too, and the pass over the forget set has its own
          optimiser. The authors' AdamW decays weights outside the mask; here they stay.

    References:
        SalUn: Empowering Machine Unlearning via Gradient-based Weight Saliency in Both Image Classification and
        Generation (Chongyu Fan, Jiancheng Liu, Yihua Zhang, Eric Wong, Dennis Wei, Sijia Liu, 2024),
        https://arxiv.org/abs/2310.12508, as defined by the research code of Towards Natural Machine Unlearning
        (He et al., 2024).

    Examples:
        >>> from natmu.testing import problem_for
        >>> unlearned = SalUn(epochs=2)(problem_for("random"))
        >>> round(unlearned.passes.passes, 1)  # over the training set
        2.2
    """

    name = "salun"
    paper = Paper("SalUn: Gradient-based Weight Saliency", "Fan et al.", 2024, "https://arxiv.org/abs/2310.12508")
    presets = published.SALUN

    class Config(FineTuneSettings, DualOptimSettings):
        """Settings of ``salun``; the defaults are the NatMU paper's for CIFAR-10 and VGG16."""

        lr: float = Field(5e-5, gt=0, le=100, description="base learning rate")
        weight_decay: float = Field(3e-4, ge=0, le=1, description="decoupled weight decay")
        threshold: float = Field(0.05, gt=0, le=1, description="fraction of the weights that may move")
        relabel: Literal["fixed", "each_epoch", "any"] = Field(
            "fixed",
            description="one wrong label per forget sample; or another wrong label each epoch; or each epoch one of "
            "all classes, also the true one",
        )
        order: Literal["shuffled", "forget_first"] = Field(
            "shuffled", description="both sets mixed, or in each epoch the forget set before the retain set"
        )
        reset_head: bool = Field(False, description="re-initialise the last linear layer before fine-tuning")

    def run(self, problem: Problem) -> nn.Module:
        """Find the salient weights, then fine-tune them on the retain set and the relabelled forget set."""
        config = self.config
        salient = most_salient(saliency(problem), config.threshold)
        if config.reset_head:
            problem.reset_head()
        retain, pinned = problem.retain_samples(config), _pinned(problem.model, salient)
        if config.order == "forget_first" or config.forget_lr is not None:
            passes = [part for epoch in range(config.epochs) for part in (self._forget(problem, epoch), retain)]
            longer = {"epochs": len(passes), "warmup_epochs": 2 * config.warmup_epochs}
            run = config.model_copy(update=longer)
            second = second_optimizer(config, run, epochs=range(0, run.epochs, 2))
            return fine_tune(self, problem, passes, after_step=pinned, settings=run, second=second)

        def samples(epoch: int) -> Samples:
            return joined(retain, self._forget(problem, epoch))

        derived = samples(0) if config.relabel == "fixed" else samples
        return fine_tune(self, problem, derived, after_step=pinned)

    def _forget(self, problem: Problem, epoch: int) -> Samples:
        """The forget set with its labels of an epoch."""
        if self.config.relabel == "any":
            drawn = problem.rng("labels", "any", epoch).choice(problem.classes, len(problem.forget))
        else:
            drawn = relabelled(problem, *([epoch] if self.config.relabel == "each_epoch" else []))
        return plain(problem.forget_positions, torch.from_numpy(drawn), augment=False)


def saliency(problem: Problem) -> list[Tensor]:
    """|gradient of the cross-entropy summed over the forget set|, per parameter, in eval mode with true labels."""
    return [gradient.abs() for gradient in summed_gradient(problem, problem.forget_samples())]


def most_salient(saliencies: list[Tensor], threshold: float) -> list[Tensor]:
    """Masks of the global top share of weights.

    Args:
        saliencies: One tensor per parameter.
        threshold: Share that is selected, ``(0, 1]``; rounded up to whole weights.

    Returns:
        bool tensors of the same shapes, True for exactly the selected number of weights.
    """
    flat = torch.cat([values.flatten() for values in saliencies])
    chosen = torch.zeros_like(flat, dtype=torch.bool)
    chosen[flat.topk(math.ceil(round(threshold * len(flat), 6)), sorted=False).indices] = True
    pieces = torch.split(chosen, [values.numel() for values in saliencies])
    return [piece.view(values.shape) for piece, values in zip(pieces, saliencies, strict=True)]


def _pinned(model: nn.Module, salient: list[Tensor]) -> Callable[[], None]:
    """A function that puts every weight outside the masks back to its present value."""
    kept = [(p, mask, p.detach().clone()) for p, mask in zip(model.parameters(), salient, strict=True)]

    @torch.no_grad()
    def put_back() -> None:
        for parameter, mask, value in kept:
            parameter.copy_(torch.where(mask, parameter, value))

    return put_back
