"""Methods that shift the decision boundary around the forget set."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from natmu.bounds import LARGEST_COUNT
from natmu.data.batches import plain, render
from natmu.data.inputs import InputRange
from natmu.engine import processes
from natmu.engine.predict import evaluation_batch
from natmu.errors import ModelError, ScenarioError, TrainingError
from natmu.methods import published
from natmu.methods.base import Method, Paper, fine_tune
from natmu.methods.neighbours import by_images
from natmu.methods.problem import Problem
from natmu.methods.settings import SGDSettings
from natmu.models import Ensemble, last_linear
from natmu.models.faults import FAULTS, quoted
from natmu.progress import task
from natmu.types import seed_for

PAPER = Paper("Boundary Unlearning", "Chen et al.", 2023, "https://arxiv.org/abs/2303.11570")


class BoundarySettings(SGDSettings):
    """What both boundary methods share; the defaults are those of the official code for CIFAR-10."""

    batch_size: int | None = Field(
        64, ge=1, le=LARGEST_COUNT, description="samples per step; those of the original's training if none"
    )
    lr: float = Field(1e-5, gt=0, le=100, description="base learning rate")
    weight_decay: float = Field(0, ge=0, le=1, description="weight decay, decoupled for adamw")


class BoundaryShrink(Method):
    """Teach each forget sample the wrong class nearest to it, so that the neighbours take over its region.

    An adversarial step leads from each forget image to the other side of the nearest boundary. Every pixel moves by
    ``bound`` in the direction that raises the original's cross-entropy (the fast gradient sign method). The class that
    the original sees there becomes the sample's label, and the model is fine-tuned on the relabelled forget set alone.

    When to use:
        There are no retain images, and whole classes, or a small part of the data, are to be forgotten. Search ``lr``
        and ``epochs``: too little forgets nothing, and too much destroys the accuracy on the retain set. The defaults
        are the code's for CIFAR-10; on the digits (one seed) they left a class as it was.

    Cost:
        Two forward passes and one backward pass over D_f, then ``epochs`` passes of training over D_f; one more copy of
        the model while the labels are found.

    Decisions:
        - The official code attacks a frozen copy of the original anew in each epoch, and always finds the same labels.
          Here they are computed once, in full precision, because the step is a sign.
        - If the step does not leave the class, the official code keeps the true label and so teaches what is to be
          forgotten. The paper asks for the nearest wrong class: here the one with the largest logit apart from the true
          class.
        - If several whole classes are forgotten, none of them is given as a label, because they would only change
          places. Neither paper nor code forgets more than one class.
        - The step is taken on images as the model is given them, in units of the range of each channel (``[0, 1]`` for
          images of 8 bits), and clipped to that range. The official code means to do so with a bound of 0.1. But its
          images are in ``[-1, 1]``, and it takes them for images normalised by CIFAR-10's deviations of about 0.2. So
          its step is 0.25 of ``[0, 1]``, the default here. Its clip has the same wrong scale and hardly acts, so its
          images leave ``[0, 1]``. It also rounds to 256 grey levels, which is left out.
        - The official code has batches of 64 and no weight decay; so has the default.

    References:
        Boundary Unlearning: Rapid Forgetting of Deep Networks via Shifting the Decision Boundary (Min Chen, Weizhuo
        Gao, Gaoyang Liu, Kai Peng, Chen Wang, 2023), https://arxiv.org/abs/2303.11570

    Examples:
        >>> from natmu.testing import problem_for
        >>> unlearned = BoundaryShrink(epochs=2, batch_size=8)(problem_for("random"))
        >>> round(unlearned.passes.passes, 1)  # over the training set
        0.7
    """

    name = "boundary_shrink"
    paper = PAPER
    needs_retain = False
    presets = published.BOUNDARY_SHRINK

    class Config(BoundarySettings):
        """Settings of ``boundary_shrink``."""

        bound: float = Field(
            0.25, gt=0, le=1, description="length of the adversarial step, in units of the images' range"
        )

    def check(self, problem: Problem) -> None:
        """Refuse data with a single class, which has no wrong one."""
        super().check(problem)
        if problem.data.num_classes < 2:
            raise ScenarioError(f"{self.name} needs at least two classes, because it teaches wrong ones.")

    def run(self, problem: Problem) -> nn.Module:
        """Relabel the forget set with the original, then fine-tune on it."""
        labels = reached_classes(problem, self.config.bound)
        return fine_tune(self, problem, plain(problem.forget_positions, labels, augment=False))


def reached_classes(problem: Problem, bound: float) -> Tensor:
    """The wrong class that one adversarial step from each forget sample leads to, int64 ``(F,)`` on the CPU.

    Args:
        problem: Its model is looked at in eval mode, so that samples do not depend on each other.
        bound: Length of the step.

    Raises:
        TrainingError: A logit of the model is not finite.
    """
    model, device = problem.frozen_copy(), problem.compute.device
    true = problem.labels(problem.forget_positions).to(device)
    samples = plain(problem.forget_positions.to(device), true, augment=False)
    pieces = []
    span = InputRange.of(problem.data, device)
    steps = torch.split(torch.arange(len(samples), device=device), evaluation_batch(problem.data))
    with task("relabel", len(steps)) as advance, problem.compute.kernels():
        for rows in steps:
            moved = adversarial(model, render(problem.data, samples, rows), true[rows], bound, span)
            with torch.no_grad():
                pieces.append(model(moved).float())
            advance()
    logits = torch.cat(pieces)
    if not bool(torch.isfinite(logits).all()):
        raise TrainingError("boundary_shrink: the original's logits are not finite; its weights are damaged.")
    now = problem.forget.classes if problem.forget.scenario == "class" else ()
    gone = {*range(problem.data.num_classes)}.difference(problem.classes.tolist())
    labels = nearest_wrong(logits, true, sorted(gone.union(now)))
    processes.same_everywhere([labels])
    return labels.cpu()


def adversarial(model: nn.Module, images_BCHW: Tensor, labels_B: Tensor, bound: float, span: InputRange) -> Tensor:
    """One step of the fast gradient sign method, up the cross-entropy and clipped to the range of the data.

    Args:
        model: In eval mode.
        images_BCHW: float32 in the range of the data.
        labels_B: int64, the true labels.
        bound: How far every pixel moves, in units of the range.
        span: The range.

    Returns:
        float32 ``(B, C, H, W)``, detached.

    References:
        Explaining and Harnessing Adversarial Examples (Goodfellow et al., 2015), https://arxiv.org/abs/1412.6572
    """
    images = images_BCHW.detach().requires_grad_()
    with torch.enable_grad():
        loss = functional.cross_entropy(model(images).float(), labels_B, reduction="sum")
    gradient = by_images(loss, images)
    return span.clip(images.detach() + bound * span.width * gradient.sign())


def nearest_wrong(logits_BC: Tensor, labels_B: Tensor, gone: Sequence[int] = ()) -> Tensor:
    """The class with the largest logit of those that are neither the true one nor gone.

    Args:
        logits_BC: Finite.
        labels_B: int64, the true labels.
        gone: Classes that are no label; not all of those that are not the true one.

    Returns:
        int64 ``(B,)``.
    """
    barred = torch.tensor(list(gone), dtype=torch.int64, device=logits_BC.device)
    left = logits_BC.scatter(1, labels_B[:, None], -math.inf).index_fill(1, barred, -math.inf)
    return left.argmax(1)


class BoundaryExpand(Method):
    """Move the forget set into an extra class, then cut that class off.

    The head gets one more output with a drawn initial weight. The model is fine-tuned to predict it for every forget
    sample. Then the output is cut off again, and the model predicts the second-best class for each forget sample.

    When to use:
        There are neither retain images nor labels, and whole classes, or a small part of the data, are to be forgotten.
        The rate and the number of epochs decide when to stop: nothing protects the accuracy on the retain set. The
        model must end in a linear layer with one output per class.

    Cost:
        ``epochs`` passes of training over D_f; no extra memory but one row of the head.

    Decisions:
        - The extra row is drawn as in the official code, Xavier normal for the widened head, its bias 0; the other rows
          are the original's.
        - The official code has batches of 64 and no weight decay; so has the default.
        - A head that is frozen stays frozen, its extra row too; then only the body learns the extra class.

    References:
        Boundary Unlearning: Rapid Forgetting of Deep Networks via Shifting the Decision Boundary (Min Chen, Weizhuo
        Gao, Gaoyang Liu, Kai Peng, Chen Wang, 2023), https://arxiv.org/abs/2303.11570

    Examples:
        >>> from natmu.testing import problem_for
        >>> unlearned = BoundaryExpand(epochs=2, batch_size=8)(problem_for("random"))
        >>> round(unlearned.passes.passes, 1)  # over the training set
        0.4
    """

    name = "boundary_expand"
    paper = PAPER
    needs_labels = False
    needs_retain = False
    presets = published.BOUNDARY_EXPAND

    class Config(BoundarySettings):
        """Settings of ``boundary_expand``."""

    def check(self, problem: Problem) -> None:
        """Refuse models whose logits are not the outputs of a linear layer of their own."""
        super().check(problem)
        _require_head(problem)

    def run(self, problem: Problem) -> nn.Module:
        """Fine-tune with the widened head, then cut the extra class off."""
        head = last_linear(problem.model, problem.data.num_classes, problem.reached)
        extra = torch.full_like(problem.forget_positions, head.out_features)
        with widened(head, seed_for(problem.seed, "extra class")):
            return fine_tune(self, problem, plain(problem.forget_positions, extra, augment=False))


@contextmanager
def widened(head: nn.Linear, seed: int) -> Iterator[None]:
    """Inside, a linear layer has one more output; afterwards its own parameters hold what the others have become.

    Args:
        head: With weight and bias of its own; flags of gradients pass to the wider parameters.
        seed: All that the extra weight depends on, apart from its shape: Xavier normal for the widened layer. An
            extra bias is 0.
    """
    weight, bias, outputs = head.weight, head.bias, head.out_features
    scale = math.sqrt(2 / (head.in_features + outputs + 1))
    row = scale * torch.randn(1, head.in_features, generator=torch.Generator().manual_seed(seed))
    head.weight = _longer(weight, row)
    if bias is not None:
        head.bias = _longer(bias, torch.zeros(1))
    head.out_features = outputs + 1
    try:
        yield
    finally:
        with torch.no_grad():
            weight.copy_(head.weight[:outputs])
            if bias is not None:
                bias.copy_(head.bias[:outputs])
        head.weight, head.bias, head.out_features = weight, bias, outputs


def _longer(parameter: Tensor, row: Tensor) -> nn.Parameter:
    """A parameter with a row after those of another one."""
    return nn.Parameter(torch.cat([parameter.detach(), row.to(parameter)]), requires_grad=parameter.requires_grad)


def _require_head(problem: Problem) -> None:
    """Refuse a model whose logits do not grow with its last linear layer, tried on a copy.

    Raises:
        ModelError: It does not.
    """
    classes, what = problem.data.num_classes, type(problem.model).__name__
    wanted = f"boundary_expand needs a model that ends in a linear layer with {classes} outputs"
    if isinstance(problem.model, Ensemble):
        raise ModelError(f"{wanted}, and a model in shards has one for each shard; choose another method.")
    try:
        own = last_linear(problem.model, classes, problem.reached)
    except ModelError:
        raise ModelError(f"{wanted}, and {what} has none; choose another method.") from None
    held = [parameter for module in problem.model.modules() for parameter in module.parameters(recurse=False)]
    for parameter in (own.weight, own.bias):
        if parameter is not None and sum(parameter is other for other in held) != 1:
            raise ModelError(
                f"{wanted} and weights of its own, and those of {what} are shared with another layer or computed from "
                "other parameters; remove that, or choose another method."
            )
    place = next(name for name, module in problem.model.named_modules() if module is own)
    trial = problem.frozen_copy()
    head = trial.get_submodule(place)
    assert isinstance(head, nn.Linear), "it is a copy of the head"
    images = torch.full((2, *problem.data.image_shape), 0.5, device=head.weight.device)
    try:
        with problem.compute.private_randomness(), torch.no_grad(), widened(head, 0):
            shape = tuple(trial(images).shape)
    except FAULTS as error:
        raise ModelError(
            f"{wanted}, and {what} fails with one more ({quoted(error)}); choose another method."
        ) from None
    if shape != (2, classes + 1):
        raise ModelError(f"{wanted}, and the last one of {what} does not give its logits; choose another method.")
