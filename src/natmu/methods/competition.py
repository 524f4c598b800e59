"""Winners of the NeurIPS 2023 machine unlearning challenge: damage the convolutions, then repair on the retain set."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor, nn

from natmu.data.batches import plain
from natmu.engine.step import Direction, Gradients
from natmu.errors import ModelError, SettingError
from natmu.methods.base import Method, Paper, fine_tune
from natmu.methods.problem import Problem
from natmu.methods.set_gradients import summed_gradient
from natmu.methods.settings import SGDRetainSettings
from natmu.records.settings import Schedule
from natmu.types import seed_for

PAPER = Paper(
    "Are we making progress in unlearning? Findings from the first NeurIPS unlearning competition",
    "Triantafillou et al.",
    2024,
    "https://arxiv.org/abs/2406.09073",
)


class MSG(Method):
    """Draw anew the convolution weights with the smallest gradients, and fine-tune on the retain set.

    In each convolution the ``reset_share`` of weights is drawn anew whose gradient of the difference between retain and
    forget loss, ``|∇CE(D_r) - ∇CE(D_f)|``, is smallest (mask small gradients). Then the model is fine-tuned on the
    retain set, where the gradients of the other weights of convolutions count ``kept_scale`` times.

    When to use:
        For convolutional networks and random forget sets, as the strongest of the challenge's methods that need no
        search. It needs enough retain data to learn the new weights with.

    Cost:
        One forward and backward pass over D_f and over as many retain samples, then ``epochs`` over D_r. Memory for
        three more numbers per weight while weights are chosen, and one per convolution weight during training.

    Decisions:
        - Weights are chosen in each convolution by itself, as in the code, which keeps any layer from being wiped out;
          their number is rounded up to whole weights. Frozen ones stay as they are.
        - The gradient is that of the difference of mean losses in eval mode, over all of D_f and as many retain
          samples, drawn at random; the code adds up the means of batches, in the mode that the model comes in.
        - New weights are drawn in the layer's own way, as when the model is retrained from fresh weights; the code
          draws all from Kaiming's normal distribution.
        - The code's learning rate rises over the first half of the epochs and falls linearly to 0; here it rises for
          ``warmup_epochs`` and follows half a cosine to 0.
        - ``kept_scale`` counts for the gradient of the loss and not for weight decay, as in the code. With adam and
          adamw, which divide each gradient by its own size, it would do nothing, so they are refused with it.

    References:
        Are we making progress in unlearning? Findings from the first NeurIPS unlearning competition (Eleni
        Triantafillou, Peter Kairouz, Fabian Pedregosa, Jamie Hayes, Meghdad Kurmanji, Kairan Zhao, Vincent Dumoulin,
        Julio Jacques Junior, Ioannis Mitliagkas, Jun Wan, Lisheng Sun Hosoya, Sergio Escalera, Gintare Karolina
        Dziugaite, Peter Triantafillou, Isabelle Guyon, 2024), https://arxiv.org/abs/2406.09073

    Examples:
        >>> from natmu.testing import problem_for
        >>> unlearned = MSG(epochs=2)(problem_for("random"))
        >>> round(unlearned.passes.passes, 1)  # over the training set
        2.0
    """

    name = "msg"
    paper = PAPER

    class Config(SGDRetainSettings):
        """Settings of ``msg``."""

        epochs: int = Field(5, ge=1, le=100_000, description="passes over the retain set")
        lr: float = Field(1e-3, gt=0, le=100, description="base learning rate")
        schedule: Schedule = Field("cosine", description="learning-rate schedule")
        warmup_epochs: float = Field(1, ge=0, le=100_000, description="epochs of linear warm-up")
        reset_share: float = Field(0.3, gt=0, le=1, description="share of each convolution's weights to draw anew")
        kept_scale: float = Field(0.1, ge=0, le=1, description="factor on the gradients of its other weights")

    def check(self, problem: Problem) -> None:
        """Refuse models without convolutions, and optimisers that undo the scaling."""
        super().check(problem)
        if not kernels(problem.model):
            raise ModelError("msg needs a model with a 2-d convolution whose weight may be trained; this one has none.")
        if self.config.optimizer != "sgd" and self.config.kept_scale != 1:
            raise SettingError(
                f"msg: kept_scale={self.config.kept_scale} does nothing with optimizer={self.config.optimizer}, which "
                "divides by the size of the gradient; use optimizer=sgd or kept_scale=1."
            )

    def run(self, problem: Problem) -> nn.Module:
        """Choose and draw weights anew, then fine-tune on the retain set."""
        weights = kernels(problem.model)
        difference = dict(zip(problem.model.parameters(), _difference(problem), strict=True))
        chosen = {weight: smallest(difference[weight].abs(), self.config.reset_share) for weight in weights.values()}
        modules = [name.rpartition(".")[0] for name in weights]
        fresh = dict(problem.fresh(seed_for(problem.seed, "convolutions"), modules).named_parameters())
        with torch.no_grad():
            for name, weight in weights.items():
                weight.copy_(torch.where(chosen[weight], fresh[name].to(weight.device), weight))
        scaled = _scaling(problem.model, chosen, self.config.kept_scale)
        return fine_tune(self, problem, problem.retain_samples(self.config), direction=scaled)


class ConvTranspose(Method):
    """Transpose the two spatial axes of every convolution kernel, then fine-tune on the retain set.

    A transposed kernel sees what the original one sees in the image mirrored at its diagonal: scales and channels stay
    in place, while everything finer is lost and learnt again from the retain set.

    When to use:
        For convolutional networks and random forget sets, where simplicity counts: there is nothing to set but the
        training, and the forget set is not needed at all. It damages features as a whole, so retained accuracy depends
        on the fine-tuning.

    Cost:
        ``epochs`` forward and backward passes over D_r; D_f is never read. No extra memory.

    Decisions:
        - Kernels that are not square stay as they are, as do frozen ones. So do 1 x 1 kernels, by the rule itself; a
          model that has no others is refused.
        - Rate 1e-3 on half a cosine over three epochs, with momentum and weight decay, is the code's; it lowers the
          rate between epochs, and here it falls at every step.
        - Running statistics of normalisation are not reset: fine-tuning moves them.

    References:
        Are we making progress in unlearning? Findings from the first NeurIPS unlearning competition (Eleni
        Triantafillou, Peter Kairouz, Fabian Pedregosa, Jamie Hayes, Meghdad Kurmanji, Kairan Zhao, Vincent Dumoulin,
        Julio Jacques Junior, Ioannis Mitliagkas, Jun Wan, Lisheng Sun Hosoya, Sergio Escalera, Gintare Karolina
        Dziugaite, Peter Triantafillou, Isabelle Guyon, 2024), https://arxiv.org/abs/2406.09073

    Examples:
        >>> from natmu.testing import problem_for
        >>> unlearned = ConvTranspose(epochs=2)(problem_for("random"))
        >>> round(unlearned.passes.passes, 1)  # over the training set
        1.6
    """

    name = "conv_transpose"
    paper = PAPER

    class Config(SGDRetainSettings):
        """Settings of ``conv_transpose``."""

        epochs: int = Field(3, ge=1, le=100_000, description="passes over the retain set")
        lr: float = Field(1e-3, gt=0, le=100, description="base learning rate")
        schedule: Schedule = Field("cosine", description="learning-rate schedule")

    def check(self, problem: Problem) -> None:
        """Refuse models on which transposing changes nothing."""
        super().check(problem)
        if not any(weight.shape[2] == weight.shape[3] > 1 for weight in kernels(problem.model).values()):
            raise ModelError(
                "conv_transpose needs a model with a 2-d convolution whose kernel is square, larger than 1 x 1 and may "
                "be trained; this one has none."
            )

    def run(self, problem: Problem) -> nn.Module:
        """Transpose, then fine-tune on the retain set."""
        transpose_kernels(problem.model)
        return fine_tune(self, problem, problem.retain_samples(self.config))


def kernels(model: nn.Module) -> dict[str, nn.Parameter]:
    """The weights of the model's 2-d convolutions that may be trained, each once, by their names."""
    found = {id(m.weight) for m in model.modules() if isinstance(m, nn.Conv2d)}
    return {name: weight for name, weight in model.named_parameters() if id(weight) in found and weight.requires_grad}


@torch.no_grad()
def transpose_kernels(model: nn.Module) -> None:
    """Swap the spatial axes of every square kernel, in place; twice is as if never."""
    for weight in kernels(model).values():
        if weight.shape[2] == weight.shape[3]:
            weight.copy_(weight.transpose(2, 3).clone())


def smallest(values: Tensor, share: float) -> Tensor:
    """A mask of the share of smallest values.

    Args:
        values: Any shape.
        share: ``(0, 1]``; rounded up to whole values.

    Returns:
        bool, True for exactly that many.
    """
    chosen = torch.zeros(values.numel(), dtype=torch.bool, device=values.device)
    count = math.ceil(round(share * values.numel(), 6))
    chosen[values.flatten().topk(count, largest=False, sorted=False).indices] = True
    return chosen.view(values.shape)


def _difference(problem: Problem) -> list[Tensor]:
    """The gradient of the mean loss on retain samples less that on the forget set, per parameter."""
    everything = problem.retain_positions
    count = min(len(problem.forget), len(everything))
    drawn = problem.rng("compared").choice(len(everything), count, replace=False)
    positions = everything[torch.from_numpy(drawn)]
    retain = summed_gradient(problem, plain(positions, problem.labels(positions), augment=False))
    forget = summed_gradient(problem, problem.forget_samples())
    return [r / count - f / len(problem.forget) for r, f in zip(retain, forget, strict=True)]


def _scaling(model: nn.Module, chosen: dict[nn.Parameter, Tensor], factor: float) -> Direction:
    """A transform of gradients that multiplies those of unchosen convolution weights by a factor."""
    moving = [parameter for parameter in model.parameters() if parameter.requires_grad]
    factors = [torch.where(chosen[p], 1.0, factor) if p in chosen else None for p in moving]

    def scaled(terms: Sequence[Gradients]) -> Gradients:
        [gradients] = terms
        return [g if f is None else g.mul_(f) for g, f in zip(gradients, factors, strict=True)]

    return scaled
