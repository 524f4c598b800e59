"""MU-Mis: the model is made less sensitive to the forget images."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from natmu.data.batches import Batch, Samples, plain, render
from natmu.data.inputs import InputRange
from natmu.engine import processes
from natmu.engine.modes import evaluating
from natmu.engine.predict import evaluation_batch
from natmu.errors import ModelError
from natmu.methods.base import Method, Paper, fine_tune
from natmu.methods.labels import wrong_labels
from natmu.methods.problem import Problem
from natmu.methods.settings import SGDSettings
from natmu.models.faults import FAULTS, quoted


class MUMis(Method):
    """Lower the sensitivity of each forget sample's own logit to its image, and raise that of another class's logit.

    Descends on the mean over the forget set of ``‖∇ₓ f_c(x)‖² - ‖∇ₓ f_c'(x)‖²``, where ``f`` gives logits, ``c`` is
    the sample's class and ``c'`` another one, drawn anew for each visit. Training on a sample makes the first norm
    larger than the second; a retrained model never saw it, and has less of that gap. The run ends early when the mean
    of ``‖∇ₓ f_c'‖`` over D_f has passed its lowest value and risen above ``delta`` times that of the original.

    When to use:
        No retain data is at hand, and whole classes or sub-classes are to be forgotten. On random samples, methods that
        see retain data do better, as its authors report too. Search ``lr`` for each model: the loss has the scale of
        squared logits per squared pixel.

    Cost:
        ``epochs`` passes over D_f at most. Each has one forward pass, two backward passes to the images, one backward
        pass through all of these, and a forward and backward pass for the stopping rule. The activations of two
        backward passes are kept in memory at once.

    Decisions:
        - Norms are taken in units of the range of each channel, [0, 1] for images of 8 bits, before the model's own
          normalisation, which not every model has as a layer of its own.
        - The model is in eval mode, and batch normalisation uses its running statistics: with the statistics of a
          batch, the gradient of one sample's logit would reach the images of all others, but the formula is for single
          samples. A single forget sample can be forgotten, too.
        - The stopping rule is checked between epochs, with one class ``c'`` per sample that is drawn once, so that its
          ratio does not vary with the draws. The paper checks the same rule between steps. We found no source for
          ``delta`` and for the rates of its tables; 1 is where the paper sees the accuracy of other classes recover. On
          small networks the sensitivity may rise at once, so that the run ends after an epoch; a larger ``delta``
          prevents that.
        - SGD without weight decay, because no training loss would counteract it. All is computed in full precision and
          with plain attention, because its fast forms have no second derivative.

    References:
        Remaining-data-free Machine Unlearning by Suppressing Sample Contribution (Xinwen Cheng, Zhehao Huang, Wenxing
        Zhou, Zhengbao He, Ruikai Yang, Yingwen Wu, Xiaolin Huang, 2024), https://arxiv.org/abs/2402.15109

    Examples:
        >>> from natmu.testing import problem_for
        >>> unlearned = MUMis(epochs=2, delta=100)(problem_for("random"))
        >>> unlearned.passes.passes > 0  # over the training set
        True
    """

    name = "mu_mis"
    paper = Paper(
        "Remaining-data-free Machine Unlearning by Suppressing Sample Contribution",
        "Cheng et al.",
        2024,
        "https://arxiv.org/abs/2402.15109",
    )
    needs_retain = False

    class Config(SGDSettings):
        """Settings of ``mu_mis``."""

        epochs: int = Field(20, ge=1, le=100_000, description="passes over the forget set at most")
        lr: float = Field(1e-5, gt=0, le=100, description="base learning rate")
        weight_decay: float = Field(0, ge=0, le=1, description="weight decay, decoupled for adamw")
        delta: float = Field(
            1, ge=0, description="the run ends at this many times the original's sensitivity of other classes"
        )

    def check(self, problem: Problem) -> None:
        """Refuse a single class, beside which there is no other, and models that cannot be differentiated twice."""
        super().check(problem)
        if len(problem.classes) < 2:
            raise ModelError("mu_mis compares with other classes, and there is only one; use data with two or more.")
        _require_second_derivatives(problem)

    def run(self, problem: Problem) -> nn.Module:
        """Descend until the other classes have recovered."""
        positions, device = problem.forget_positions, problem.compute.device
        true = problem.labels(positions)
        own, classes, width = true.to(device), problem.classes, InputRange.of(problem.data, device).width

        def samples(epoch: int) -> Samples:
            others = wrong_labels(true.numpy(), classes, problem.rng("other class", epoch))
            return plain(positions, torch.from_numpy(others), augment=False)

        def loss(model: nn.Module, batch: Batch) -> Tensor:
            with torch.autocast(batch.images.device.type, enabled=False):
                of_own, of_other = sensitivities(model, batch.images, width, (own[batch.rows], batch.labels))
            mean: Tensor = (of_own - of_other).mean()
            return mean

        measured = wrong_labels(true.numpy(), classes, problem.rng("measured class"))
        watched = plain(positions, torch.from_numpy(measured), augment=False)
        kept = {name: torch.zeros((), device=device) for name in ("first", "lowest")}

        def goes_on(epoch: int, model: nn.Module) -> bool:
            now = _mean_sensitivity(problem, model, watched)
            if epoch == 0:
                kept["first"].copy_(now)
                kept["lowest"].copy_(now)
                return True
            recovered = recovered_by(now, kept["lowest"], kept["first"], self.config.delta)
            kept["lowest"].clamp_(max=now)
            return not recovered

        still = list(problem.model.modules())
        return fine_tune(self, problem, samples, loss, in_eval=still, before_epoch=goes_on, kept=kept)


def sensitivities(
    model: nn.Module, images_BCHW: Tensor, width: Tensor, classes: tuple[Tensor, ...], *, differentiable: bool = True
) -> list[Tensor]:
    """The squared norms of the gradients of some logits by the image.

    Args:
        model: In eval mode, so that samples do not depend on each other.
        images_BCHW: As the model is given them.
        width: Of each channel's range, ``(1, C, 1, 1)``, which is the unit in which images change.
        classes: int64 ``(B,)`` each, of which class's logit, one after the other.
        differentiable: Whether weights get gradients from them.

    Returns:
        Squared Euclidean norms ``(B,)``, for each of ``classes``.
    """
    images = images_BCHW.detach().requires_grad_()
    squares = []
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
        logits = model(images).float()
        for chosen_B in classes:
            chosen = logits.gather(1, chosen_B[:, None]).sum()
            (gradient,) = torch.autograd.grad(chosen, images, retain_graph=True, create_graph=differentiable)
            squares.append((gradient * width).flatten(1).square().sum(1))
    return squares


def recovered_by(now: Tensor, lowest: Tensor, first: Tensor, delta: float) -> bool:
    """Whether a sensitivity has fallen, passed its lowest value and come back to ``delta`` times the first."""
    return bool((lowest < first) & (now > lowest) & (now > delta * first))


def _mean_sensitivity(problem: Problem, model: nn.Module, samples: Samples) -> Tensor:
    """The mean over some rows of the norm of the gradient of the logit of each row's label, the same everywhere."""
    device = problem.compute.device
    on_device = Samples(samples.positions.to(device), samples.labels.to(device), samples.augmented)
    total, width = torch.zeros((), device=device), InputRange.of(problem.data, device).width
    with evaluating(model), problem.compute.kernels():
        for rows in torch.split(torch.arange(len(samples), device=device), evaluation_batch(problem.data)):
            images = render(problem.data, on_device, rows)
            (squares,) = sensitivities(model, images, width, (on_device.labels[rows],), differentiable=False)
            total += squares.sqrt().sum()
    processes.same_everywhere([total])
    return total / len(samples)


def _require_second_derivatives(problem: Problem) -> None:
    """Refuse a model whose gradient by the image has no gradient by its weights, tried on a copy.

    Raises:
        ModelError: It has none.
    """
    trial = problem.frozen_copy()
    device = next(trial.parameters()).device
    for weight in filter(torch.is_floating_point, trial.parameters()):
        weight.requires_grad_()
    images = torch.full((2, *problem.data.image_shape), 0.5, device=device)
    zeros = torch.zeros(2, dtype=torch.int64, device=device)
    try:
        with problem.compute.private_randomness():
            (squares,) = sensitivities(trial, images, torch.ones((), device=device), (zeros,))
            squares.sum().backward()  # type: ignore[no-untyped-call]
    except FAULTS as error:
        raise ModelError(
            f"mu_mis needs a model that can be differentiated twice, and {type(problem.model).__name__} cannot "
            f"({quoted(error)}); choose another method."
        ) from None
