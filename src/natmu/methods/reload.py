"""RELOAD: a step away from the forget set, and new weights where it left its mark, without the forget set itself."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor, nn

from natmu.data.batches import plain
from natmu.methods.base import Method, Paper, fine_tune
from natmu.methods.competition import smallest
from natmu.methods.problem import Problem
from natmu.methods.set_gradients import summed_gradient
from natmu.methods.settings import SGDRetainSettings
from natmu.types import seed_for


class RELOAD(Method):
    """Step up the forget loss once, draw anew weights chosen by their gradients, and fine-tune on the retain set.

    With the sums of gradients over all data, ``g``, and over the retain set, ``g_r``, at the original's weights, the
    difference ``g - g_r`` is the forget set's. The weights take one step of ``ascent_lr`` along it, divided by the
    number of forget samples. Then the ``reset_share`` of weights with the lowest knowledge value ``(|g - g_r| + ε) /
    (|g| + ε)`` is drawn anew, and the model is fine-tuned on D_r.

    When to use:
        Where ``g`` can be stored when training ends, so that samples may be deleted before they are unlearned; see the
        decisions for what is done here. It needs enough retain data to learn the new weights with. ``reset_share`` is
        the setting to search: on the digits (one seed) the reset did the forgetting, with 0.5, while an ``ascent_lr``
        of 0, 0.1 and 1 gave the same forget accuracy. Forget gradients are short where training has converged, so that
        the step has little effect there.

    Cost:
        One forward and backward pass over all data, then ``epochs`` over D_r. Memory for four more numbers per weight
        while weights are chosen, and one fresh model.

    Decisions:
        - Our runs do not store the gradient of their last step. So ``g`` is computed once, from the original and all of
          its data, as the sum of two passes, and this implementation does read the forget set. The result is the same
          as with a stored ``g``, except for batch statistics: both gradients are taken in eval mode.
        - As in the paper, the weights with the lowest knowledge values are drawn anew: those whose forget gradient is
          small compared with the whole one.
        - The share is of all weights together, and exact: of equal values some are taken. The code resets at least 5 %,
          and more for a larger forget set; ``reset_share`` is a plain share.
        - New weights are drawn in the layer's own way, as when the model is retrained from fresh weights; the code
          offers eight ways. Running statistics stay. Frozen weights neither take the step nor are drawn anew.
        - The paper fine-tunes until convergence, its code for 35 epochs with falling rates. Both search the length of
          the step and ε; here the step is per forget sample, so that it does not grow with their number.

    References:
        Mitigating Privacy Risk via Forget Set-Free Unlearning (Aviraj Newatia, Michael Cooper, Viet Nguyen, Rahul G.
        Krishnan, 2026), https://arxiv.org/abs/2604.10636

    Examples:
        >>> from natmu.testing import problem_for
        >>> unlearned = RELOAD(epochs=2)(problem_for("random"))
        >>> unlearned.passes.passes > 0  # over the training set
        True
    """

    name = "reload"
    paper = Paper(
        "Mitigating Privacy Risk via Forget Set-Free Unlearning",
        "Newatia et al.",
        2026,
        "https://arxiv.org/abs/2604.10636",
    )

    class Config(SGDRetainSettings):
        """Settings of ``reload``."""

        ascent_lr: float = Field(0.1, ge=0, le=1000, description="length of the step up, per mean forget gradient")
        reset_share: float = Field(0.1, gt=0, le=1, description="share of weights to draw anew")
        epsilon: float = Field(1e-10, gt=0, description="added to both sides of a knowledge value")

    def check(self, problem: Problem) -> None:
        """Refuse models whose weights cannot be drawn anew."""
        super().check(problem)
        _fresh(problem)

    def run(self, problem: Problem) -> nn.Module:
        """Step away from the forget set, draw weights anew, then fine-tune on the retain set."""
        config, retained = self.config, problem.retain_positions
        fresh = dict(_fresh(problem).named_parameters())
        forget = summed_gradient(problem, problem.forget_samples())
        retain = summed_gradient(problem, plain(retained, problem.labels(retained), augment=False))
        named = zip(problem.model.named_parameters(), forget, retain, strict=True)
        moving = [(name, weight, ours, theirs) for (name, weight), ours, theirs in named if weight.requires_grad]
        values = [knowledge_values(ours + theirs, theirs, config.epsilon) for _, _, ours, theirs in moving]
        chosen = lowest(values, config.reset_share)
        with torch.no_grad():
            for (name, weight, ours, _), mask in zip(moving, chosen, strict=True):
                stepped = weight + config.ascent_lr / len(problem.forget) * ours
                weight.copy_(torch.where(mask, fresh[name].to(weight), stepped))
        return fine_tune(self, problem, problem.retain_samples(config))


def knowledge_values(of_all: Tensor, of_retain: Tensor, epsilon: float) -> Tensor:
    """How large the forget set's part of each weight's gradient is compared with the whole, above 0.

    Args:
        of_all: Gradient of the loss summed over all data.
        of_retain: The same over the retain set.
        epsilon: Added to both sides.
    """
    return ((of_all - of_retain).abs() + epsilon) / (of_all.abs() + epsilon)


def lowest(values: Sequence[Tensor], share: float) -> list[Tensor]:
    """Masks of the share of lowest values, of all tensors together."""
    chosen = smallest(torch.cat([value.flatten() for value in values]), share)
    pieces = torch.split(chosen, [value.numel() for value in values])
    return [piece.view_as(value) for piece, value in zip(pieces, values, strict=True)]


def _fresh(problem: Problem) -> nn.Module:
    """The model with fresh weights where they may be trained.

    Raises:
        ModelError: Some cannot be drawn anew, and nothing else is known that makes the model.
    """
    owners = [
        name
        for name, module in problem.model.named_modules()
        if any(weight.requires_grad for weight in module.parameters(recurse=False))
    ]
    return problem.fresh(seed_for(problem.seed, "knowledge"), owners)
