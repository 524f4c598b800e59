"""AMUN: fine-tuning on the adversarial examples next to the forget samples."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from natmu.data.batches import Batch, joined, plain, render
from natmu.data.inputs import InputRange
from natmu.engine import processes
from natmu.engine.predict import evaluation_batch
from natmu.errors import ModelError, ScenarioError, TrainingError
from natmu.methods.base import Method, Paper, fine_tune
from natmu.methods.neighbours import by_images
from natmu.methods.presets import Preset
from natmu.methods.problem import Problem
from natmu.methods.settings import SGDRetainSettings
from natmu.progress import task


class AMUN(Method):
    """Fine-tune on the adversarial example nearest to each forget sample, labelled with the original's prediction.

    From each forget image a projected gradient ascent (PGD) climbs the original's cross-entropy in the L2 ball of
    radius ε around it. If the prediction has not changed after ``attack_steps`` steps, that sample's ε is doubled, and
    so on until it changes. The loss is the cross-entropy on the retain set, on the forget set with its true labels, and
    on these examples D_a with the original's predictions for them. Close to a forget sample the model becomes less
    certain; elsewhere it stays as it is.

    When to use:
        For single samples, whose predictions should become like those of unseen samples, with or without retain data:
        ``use_retain: false`` leaves D_r out. Whole classes stay known, because forget samples keep their true labels;
        ``use_forget: false`` leaves D_f out too.

    Cost:
        Before training, one forward and backward pass over D_f per step of the attack. Each radius that is tried takes
        ``attack_steps`` steps; on CIFAR images there are at most twelve radii. Samples whose prediction has changed
        take no further part. Then ``epochs`` forward and backward passes over D_r, D_f and D_a. Memory for D_a as
        float32 images on the device.

    Decisions:
        - The attack is that of the code. It takes steps of ε / 10 along the normalised gradient, projected to the ball
          and then to the range of each channel ([0, 1] for images of 8 bits). ε is in units of that range. There is no
          random start: the search in a larger ball starts where the search in the smaller one ended. It takes the first
          image whose prediction has changed. A sample that the original gets wrong is its own adversarial example.
        - The ascent climbs the logsumexp of the other logits minus the true one. Its gradient has the direction of the
          cross-entropy's. It does not round to 0 where the original is certain, as the code's gradient does.
        - If ε has reached the diagonal of the image cube and the prediction has still not changed, the attack gives up.
          The sample has no example and is left out of D_a. The authors' code would never stop there.
        - The code crops and flips D_r and D_f and never D_a; here that is ``augment_retain`` and ``augment_forget``.
          Its authors search the learning rate and the schedule for each network.

    References:
        Not All Wrong is Bad: Using Adversarial Examples for Unlearning (Ali Ebrahimpour-Boroojeny, Hari Sundaram,
        Varun Chandrasekaran, 2025), https://arxiv.org/abs/2503.00917

    Examples:
        >>> from natmu.testing import problem_for
        >>> unlearned = AMUN(epochs=2, attack_steps=10)(problem_for("random"))
        >>> unlearned.passes.passes > 0  # over the training set
        True
    """

    name = "amun"
    paper = Paper("Not All Wrong is Bad", "E.-Boroojeny et al.", 2025, "https://arxiv.org/abs/2503.00917")
    presets: ClassVar[Mapping[str, Preset]] = {
        "paper": Preset(
            {"batch_size": 128, "augment_retain": True, "augment_forget": True},
            "Ali-E/AMUN, adversarial_unlearn.py, lines 38-44, 638-642 and 970; CIFAR-10, ResNet-18",
        ),
    }

    class Config(SGDRetainSettings):
        """Settings of ``amun``; the defaults are its code's for CIFAR-10 and ResNet-18, without augmentation."""

        epsilon: float = Field(
            0.04, gt=0, le=1000, description="first radius of the attack, in units of the images' range"
        )
        attack_steps: int = Field(50, ge=1, le=10_000, description="steps of the attack before its radius is doubled")
        use_retain: bool = Field(True, description="train on the retain set")
        use_forget: bool = Field(True, description="train on the forget set with its true labels")
        augment_forget: bool = Field(False, description="random crop and flip of forget images, not of their examples")

    @property
    def reads_retain(self) -> bool:
        """Whether the settings let it."""
        return bool(self.config.use_retain)

    def check(self, problem: Problem) -> None:
        """Refuse data with a single class, where no prediction can change."""
        super().check(problem)
        if problem.data.num_classes < 2:
            raise ScenarioError("amun needs at least two classes, because it looks for images of another one.")

    def run(self, problem: Problem) -> nn.Module:
        """Find the adversarial examples, then fine-tune on them and what the settings add."""
        config = self.config
        images, predictions = adversarial_examples(problem, config.epsilon, config.attack_steps)
        labels, positions = predictions.cpu(), problem.forget_positions
        found = labels >= 0
        images = images[found.to(images.device)]
        samples = plain(positions[found], labels[found], augment=False)
        if config.use_forget:
            samples = joined(samples, plain(positions, problem.labels(positions), augment=config.augment_forget))
        if config.use_retain:
            samples = joined(samples, problem.retain_samples(config))

        def loss(model: nn.Module, batch: Batch) -> Tensor:
            own = (batch.rows < len(images))[:, None, None, None]
            shown = torch.where(own, images[batch.rows.clamp(max=len(images) - 1)], batch.images)
            return nn.functional.cross_entropy(model(shown).float(), batch.labels)

        return fine_tune(self, problem, samples, loss)


def adversarial_examples(problem: Problem, epsilon: float, steps: int) -> tuple[Tensor, Tensor]:
    """The adversarial example nearest to each forget sample, by the original in eval mode and full precision.

    Args:
        problem: Of which the model is attacked.
        epsilon: First radius of each sample.
        steps: Steps before a radius is doubled.

    Returns:
        Images ``(F, C, H, W)`` and predicted classes, int64 ``(F,)``, -1 where there is no example; on the device.

    Raises:
        TrainingError: A logit of the model is not finite.
        ModelError: No sample has an example.
    """
    model, device = problem.frozen_copy(), problem.compute.device
    true = problem.labels(problem.forget_positions).to(device)
    samples = plain(problem.forget_positions.to(device), true, augment=False)
    pieces, span = [], InputRange.of(problem.data, device)
    chunks = torch.split(torch.arange(len(samples), device=device), evaluation_batch(problem.data))
    with task("amun: attack", len(chunks)) as advance, problem.compute.kernels():
        for rows in chunks:
            images = render(problem.data, samples, rows)
            pieces.append(nearest_adversarial(model, images, true[rows], span, epsilon, steps))
            advance()
    images, predictions = (torch.cat(parts) for parts in zip(*pieces, strict=True))
    processes.same_everywhere([images, predictions])
    if not bool((predictions >= 0).any()):
        raise ModelError(
            "amun: no change of a forget image changes the model's prediction, so there are no adversarial examples; "
            "choose another method."
        )
    return images, predictions


def nearest_adversarial(
    model: nn.Module, images_BCHW: Tensor, labels_B: Tensor, span: InputRange, epsilon: float, steps: int
) -> tuple[Tensor, Tensor]:
    """The first image on each sample's path of steepest ascent whose predicted class is not its label.

    Args:
        model: In eval mode, so that samples do not depend on each other.
        images_BCHW: In the range of the data.
        labels_B: int64, the true labels.
        span: The range; distances are in its units, for each channel.
        epsilon: First radius of the L2 ball that the path stays in; doubled every ``steps`` steps, for each sample that
            still needs it, up to the diagonal of the image cube.
        steps: Of a tenth of the radius each.

    Returns:
        Images in that range and predicted classes, int64 ``(B,)``; the image itself and -1 where none has changed.

    Raises:
        TrainingError: A logit is not finite.
    """
    found, predictions = images_BCHW.clone(), torch.full_like(labels_B, -1)
    moved, left = images_BCHW, torch.arange(len(labels_B), device=labels_B.device)
    radius, diagonal = epsilon, math.sqrt(images_BCHW[0].numel())
    step = 0
    while len(left):
        logits, uphill = _ascent(model, moved, labels_B[left], span)
        predicted = logits.argmax(1)
        changed = predicted != labels_B[left]
        found[left[changed]], predictions[left[changed]] = moved[changed], predicted[changed]
        left, moved, uphill = left[~changed], moved[~changed], uphill[~changed]
        if step and step % steps == 0:
            if radius >= diagonal:
                break
            radius *= 2  # of all that are left: they began together
        away = (moved + radius / 10 * uphill * span.width - images_BCHW[left]) / span.width
        scale = (radius / _norms(away)).clamp(max=1)
        moved = span.clip(images_BCHW[left] + scale * away * span.width)
        step += 1
    return found, predictions


def _ascent(model: nn.Module, images_BCHW: Tensor, labels_B: Tensor, span: InputRange) -> tuple[Tensor, Tensor]:
    """Logits, and the direction in which each sample's cross-entropy grows fastest.

    In units of the range, its norm is 1 or 0.

    Raises:
        TrainingError: A logit is not finite.
    """
    images = images_BCHW.detach().requires_grad_()
    with torch.enable_grad():
        logits = model(images).float()
        own = logits.gather(1, labels_B[:, None]).squeeze(1)
        others = logits.scatter(1, labels_B[:, None], -math.inf).logsumexp(1)
        gradient = by_images((others - own).sum(), images)
    if not bool(torch.isfinite(logits).all()):
        raise TrainingError("amun: the original's logits are not finite; its weights are damaged.")
    gradient = gradient * span.width
    return logits.detach(), gradient / _norms(gradient).clamp(min=torch.finfo(gradient.dtype).tiny)


def _norms(images_BCHW: Tensor) -> Tensor:
    """The L2 norm of each image, ``(B, 1, 1, 1)``."""
    norms: Tensor = torch.linalg.vector_norm(images_BCHW, dim=(1, 2, 3), keepdim=True)
    return norms
