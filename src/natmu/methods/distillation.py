"""Methods that distil what to keep and what to forget from teachers."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from natmu.data.batches import Batch, joined, plain
from natmu.engine.modes import batch_norms
from natmu.engine.predict import logits_of
from natmu.errors import ModelError
from natmu.methods import published
from natmu.methods.base import Method, Paper, fine_tune
from natmu.methods.problem import Problem
from natmu.methods.settings import FineTuneSettings, SGDSettings
from natmu.methods.teachers import divergence, softened
from natmu.types import seed_for


class BadTeacher(Method):
    """Follow the original model on the retain set and a randomly initialised one on the forget set.

    The loss is KL(teacher ‖ student), summed over classes and averaged over the batch, both sides softened by the
    temperature, without a factor of its square and without a cross-entropy term. Teachers are frozen and in eval mode.

    When to use:
        Where predictions for a random forget set should be as good as random. A whole class is forgotten too, but a
        random network's predictions on it look unlike those of a retrained model, so an attacker sees what was
        forgotten.

    Cost:
        One forward and backward pass over D_r and D_f per epoch, and one forward pass of the teachers before it, or
        with ``augment_retain`` one over every batch. Memory for a second model, and C numbers per sample.

    Decisions:
        - The bad teacher draws all weights anew that are not frozen. Weights that no layer draws, such as a class
          token, are those of the model before training.
        - A teacher's predictions on images that never change are computed once, before the first step.
        - The paper's code averages over classes too (``reduction=mean``), which makes the loss C times smaller. This
          hardly matters for Adam, but it does for SGD and for weight decay. The other settings of that code are
          temperature 1, Adam at 1e-4 without weight decay, batches of 256, a random 30 % of the retain set and one
          epoch: the preset ``paper``.

    References:
        Can Bad Teaching Induce Forgetting? Unlearning in Deep Networks using an Incompetent Teacher (Vikram S.
        Chundawat, Ayush K. Tarun, Murari Mandal, Mohan Kankanhalli, 2023), https://arxiv.org/abs/2205.08096,
        as defined by the research code of Towards Natural Machine Unlearning (He et al., 2024).

    Examples:
        >>> from natmu.testing import problem_for
        >>> unlearned = BadTeacher(epochs=2)(problem_for("random"))
        >>> round(unlearned.passes.passes, 1)  # over the training set
        2.3
    """

    name = "bad_teacher"
    paper = Paper("Can Bad Teaching Induce Forgetting?", "Chundawat et al.", 2023, "https://arxiv.org/abs/2205.08096")
    needs_labels = False
    presets = published.BAD_TEACHER

    class Config(FineTuneSettings):
        """Settings of ``bad_teacher``; the defaults are the NatMU paper's for CIFAR-10 and VGG16."""

        lr: float = Field(5e-5, gt=0, le=100, description="base learning rate")
        weight_decay: float = Field(9e-4, ge=0, le=1, description="decoupled weight decay")
        temperature: float = Field(7.2, gt=0, description="divides the logits of teachers and student")
        reduction: Literal["batchmean", "mean"] = Field(
            "batchmean", description="the loss as a mean over samples, or over all entries, samples times classes"
        )
        reset_head: bool = Field(False, description="re-initialise the student's last linear layer before fine-tuning")

    def run(self, problem: Problem) -> nn.Module:
        """Distil both teachers into a student that starts as the original."""
        good = problem.frozen_copy()
        bad = problem.fresh(seed_for(problem.seed, "bad teacher")).eval().requires_grad_(False)
        bad = problem.compute.place(bad)
        if self.config.reset_head:
            problem.reset_head()
        forget = plain(problem.forget_positions, problem.labels(problem.forget_positions), augment=False)
        retain = problem.retain_samples(self.config)
        live = self.config.augment_retain
        temperature, forgotten = self.config.temperature, len(forget)
        entries = problem.data.num_classes if self.config.reduction == "mean" else 1
        targets = softened(problem, bad, forget.positions, temperature)
        if not live:
            targets = torch.cat([targets, softened(problem, good, retain.positions, temperature)])

        def loss(model: nn.Module, batch: Batch) -> Tensor:
            if live:
                with torch.no_grad():
                    followed = (good(batch.images).float() / temperature).softmax(1)
                bad_rows = batch.rows.clamp(max=forgotten - 1)
                target = torch.where((batch.rows < forgotten)[:, None], targets[bad_rows], followed)
            else:
                target = targets[batch.rows]
            predicted = (model(batch.images).float() / temperature).log_softmax(1)
            return functional.kl_div(predicted, target, reduction="batchmean") / entries

        return fine_tune(self, problem, joined(forget, retain), loss)


class DELETE(Method):
    """Predict each forget sample as the original would if its true class did not exist.

    Descends on KL(target ‖ student) over the forget set. The target is the original's softmax without the true class's
    logit: zero for that class, and the others in the same proportions as before.

    When to use:
        To forget whole classes where no retain data is left: the original's own predictions for the other classes keep
        them. A random sample is pushed out of its class too, which a retrained model would not do.

    Cost:
        ``epochs`` forward and backward passes over D_f and one forward pass of the original; none over D_r. Memory for
        C numbers per forget sample.

    Decisions:
        - The removed logit is minus infinity; the code writes -1e10, which is the same in float32.
        - Forget images are not augmented, so that the targets are computed once; the code augments them.
        - Batch normalisation is trained on the forget set, and its running statistics with it, as in the code, which
          keeps them for Tiny ImageNet alone. ``freeze_statistics`` keeps them: try it whenever other classes suffer. A
          single forget sample always leaves them as they are.
        - SGD without weight decay, as in the code, because no training loss would counteract it. The code's rate is
          1e-4 for ResNet-18 on CIFAR-10, and 5e-5 for its other networks and data.

    References:
        Decoupled Distillation to Erase: A General Unlearning Method for Any Class-centric Tasks (Yu Zhou, Dian Zheng,
        Qijie Mo, Renjie Lu, Kun-Yu Lin, Wei-Shi Zheng, 2025), https://arxiv.org/abs/2503.23751

    Examples:
        >>> from natmu.testing import problem_for
        >>> unlearned = DELETE(epochs=2)(problem_for("random"))
        >>> round(unlearned.passes.passes, 1)  # over the training set
        0.5
    """

    name = "delete"
    paper = Paper("Decoupled Distillation to Erase", "Zhou et al.", 2025, "https://arxiv.org/abs/2503.23751")
    needs_retain = False
    presets = published.DELETE

    class Config(SGDSettings):
        """Settings of ``delete``; the defaults are the official code's for CIFAR-10."""

        epochs: int = Field(20, ge=1, le=100_000, description="passes over the forget set")
        lr: float = Field(1e-4, gt=0, le=100, description="base learning rate")
        weight_decay: float = Field(0, ge=0, le=1, description="weight decay, decoupled for adamw")
        freeze_statistics: bool = Field(False, description="batch normalisation keeps its running statistics")

    def check(self, problem: Problem) -> None:
        """Refuse a single class, beside which there is no other."""
        super().check(problem)
        if problem.data.num_classes < 2:
            raise ModelError("delete moves samples to other classes, and there is only one; use data with two or more.")

    def run(self, problem: Problem) -> nn.Module:
        """Distil the original without the true classes into the student."""
        forget = problem.forget_samples()
        logits = logits_of(problem.model, problem.data, forget.positions, problem.compute)
        targets = without_true_class(logits, forget.labels.to(logits.device))

        def loss(model: nn.Module, batch: Batch) -> Tensor:
            return divergence(targets[batch.rows], model(batch.images).float())

        return fine_tune(
            self, problem, forget, loss, in_eval=batch_norms(problem.model) if self.config.freeze_statistics else ()
        )


def without_true_class(logits_BC: Tensor, labels_B: Tensor) -> Tensor:
    """Probabilities ``(B, C)`` of the other classes where each row's true class is ruled out, and has probability 0."""
    return logits_BC.scatter(1, labels_B[:, None], -torch.inf).softmax(1)
