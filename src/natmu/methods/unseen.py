"""Methods that make predictions on forget samples like those on samples that the model has never seen."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from natmu.data.batches import Batch, joined, plain
from natmu.data.images import ImageData
from natmu.engine import processes
from natmu.engine.predict import logits_of
from natmu.errors import SettingError
from natmu.methods.base import Method, Paper, fine_tune
from natmu.methods.presets import Preset
from natmu.methods.problem import Problem
from natmu.methods.settings import SGDRetainSettings
from natmu.methods.teachers import divergence
from natmu.types import IntArray


class ReGUn(Method):
    """Teach forget samples what the original predicts on average for samples of their classes that it never saw.

    For each batch of forget samples, as many samples of the same classes are drawn from the holdout, and ``q`` is the
    mean of the original's softmax on them. The loss is ``retain_weight`` · CE on a batch of D_r plus ``1 -
    retain_weight`` times the mean over the forget batch of KL(q ‖ student).

    When to use:
        For single samples, where you can keep a holdout of samples that were never trained on. All forget samples of a
        batch are taught the same ``q``, a mixture of the batch's classes, and this costs accuracy. On the digits (70
        memorised samples with wrong labels, one seed) the defaults forgot half of them and lost 11 points of test
        accuracy. ``retain_weight=0.9`` kept test accuracy and forgot hardly any. Search ``retain_weight`` and
        ``epochs``. A whole class stays known, because the original recognises its unseen samples too; ``selector:
        uniform`` draws from all classes instead.

    Cost:
        One forward pass over the holdout, then ``epochs`` forward and backward passes over D_f and over as many batches
        of D_r. Memory for C numbers per sample of the holdout.

    Decisions:
        - An epoch is a pass over D_f, each step of which takes the next batch of D_r, as in the code. A single forget
          sample is shown twice, because batch normalisation cannot learn from one.
        - Samples of the holdout are drawn with replacement, anew for each visit of a forget sample. Where the holdout
          has none of a forget sample's class, a sample of any class is drawn, as in the code.
        - The code draws uniformly by default; the paper draws by class, as here. The code's temperature, which is 1,
          and its other selectors and means are left out.
        - SGD without weight decay, as in the code. The code also crops and flips retain and forget images: see the
          preset.

    References:
        Reference-Guided Machine Unlearning (Jonas Mirlach, Sonia Laguna, Julia E. Vogt, 2026),
        https://arxiv.org/abs/2603.11210

    Examples:
        >>> from natmu.testing import problem_for
        >>> unlearned = ReGUn(epochs=6)(problem_for("random"))
        >>> round(unlearned.passes.passes, 1)  # over the training set
        3.0
    """

    name = "regun"
    paper = Paper("Reference-Guided Machine Unlearning", "Mirlach et al.", 2026, "https://arxiv.org/abs/2603.11210")
    needs_holdout = True
    presets: ClassVar[Mapping[str, Preset]] = {
        "paper": Preset(
            {"batch_size": 128, "augment_retain": True, "augment_forget": True},
            "jmirlach/ReGUn, conf/unlearn/regun.yaml and conf/data/cifar10.yaml; CIFAR-10, ResNet-18",
        )
    }

    class Config(SGDRetainSettings):
        """Settings of ``regun``; the defaults are its code's for CIFAR-10 and ResNet-18, without augmentation."""

        epochs: int = Field(10, ge=1, le=100_000, description="passes over the forget set")
        weight_decay: float = Field(0, ge=0, le=1, description="weight decay, decoupled for adamw")
        retain_weight: float = Field(0.5, ge=0, lt=1, description="weight of the retain loss; the rest is the forget's")
        selector: Literal["class", "uniform"] = Field(
            "class", description="draw unseen samples of the forget samples' classes, or of all"
        )
        augment_forget: bool = Field(False, description="random crop and flip of forget images")

    def check(self, problem: Problem) -> None:
        """Refuse to do without unseen samples."""
        super().check(problem)
        unseen = required_holdout(self.name, problem)
        if self.config.selector == "uniform":
            return
        if not torch.isin(problem.labels(problem.forget_positions), unseen.labels.cpu()).any():
            raise SettingError(
                "regun: the holdout has no sample of the classes of the forget set; set others aside, or use "
                "selector: uniform."
            )

    def run(self, problem: Problem) -> nn.Module:
        """Distil the predictions on unseen samples, beside fine-tuning on the retain set."""
        config, unseen = self.config, required_holdout(self.name, problem)
        retain = problem.retain_samples(config)
        forget = at_least(problem.forget_positions, 2 * processes.count())
        labels = problem.labels(forget)
        reference = logits_of(problem.model, unseen, torch.arange(len(unseen)), problem.compute).softmax(1)
        kinds = unseen.labels.cpu().numpy() if config.selector == "class" else np.zeros(len(unseen), np.int64)
        wanted = labels.numpy() if config.selector == "class" else np.zeros(len(forget), np.int64)
        drawn = torch.zeros(len(forget), dtype=torch.int64, device=problem.compute.device)

        def draw(epoch: int, _: nn.Module) -> bool:
            drawn.copy_(torch.from_numpy(drawn_alike(wanted, kinds, problem.rng("reference", epoch))))
            return True

        def loss(model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
            assert batch.paired is not None
            logits = model(batch.images).float()
            own = reference[drawn[batch.rows]].mean(0) * batch.weight
            target = processes.total(own) / processes.count()  # of the rows of all processes
            forgotten = divergence(target.expand_as(logits), logits)
            retained = functional.cross_entropy(model(batch.paired.images).float(), batch.paired.labels)
            return (1 - config.retain_weight) * forgotten, config.retain_weight * retained

        samples = plain(forget, labels, augment=config.augment_forget)
        return fine_tune(self, problem, samples, loss, paired=retain, before_epoch=draw)


class LoTUS(Method):
    """Teach forget samples the original's smoothed predictions until they are right less often than unseen samples.

    The student follows targets by cross-entropy. For a retained sample the target is a class drawn from the original's
    softmax. For a forget sample it is a Gumbel-softmax, ``softmax((z + g) / τ)``, with the original's logits ``z`` and
    Gumbel noise ``g``. Here ``τ = exp(alpha · gap)`` grows with the gap between the student's accuracy on D_f and the
    original's on the holdout. The gap is measured before each epoch. The run ends when it is ``-tolerance`` or less:
    the student's accuracy on D_f is then at least ``tolerance`` below the original's on unseen samples.

    When to use:
        For single samples, where you can keep a holdout of samples that were never trained on, and forgetting should
        stop by itself just below the accuracy on them. For whole classes the accuracy to reach is 0 and no holdout is
        needed. There the run never stops by itself, and part of the class may stay known. The code takes a larger
        ``alpha`` for classes (see the presets); on a class of the digits it made no difference (one seed).

    Cost:
        At most ``epochs`` forward and backward passes over D_f and ``retain_fraction`` of D_r, and before each a
        forward pass over D_f. One forward pass of the original over all of it, or with ``augment_retain`` over every
        batch. Memory for a second model, and C numbers per sample.

    Decisions:
        - Targets of retained samples are drawn, as in the code, whose one-hot Gumbel-softmax is a random draw and not
          the most probable class. If the original is certain, both are the same. Noise is drawn anew at each visit.
        - Accuracies are fractions of samples, whatever their classes, as in the code. The code rounds them to whole
          percents, so that its gap of -0.01 is anything from -0.015 to -0.005.
        - If the original's own accuracy on D_f is at least ``tolerance`` below that on unseen samples, there is nothing
          to forget by this measure, and the original is returned unchanged. For whole classes the gap is never
          negative, so all epochs are run.
        - Sub-classes are compared with the whole holdout, as single samples are, because their class remains.
        - The code crops all images of CIFAR at random and does not flip them; ``augment_retain`` crops and flips those
          of D_r.

    References:
        LoTUS: Large-Scale Machine Unlearning with a Taste of Uncertainty (Christoforos N. Spartalis, Theodoros
        Semertzidis, Efstratios Gavves, Petros Daras, 2025), https://arxiv.org/abs/2503.18314

    Examples:
        >>> from natmu.testing import problem_for
        >>> unlearned = LoTUS(epochs=2, tolerance=1)(problem_for("random"))
        >>> unlearned.passes.passes > 0  # over the training set
        True
    """

    name = "lotus"
    paper = Paper("LoTUS", "Spartalis et al.", 2025, "https://arxiv.org/abs/2503.18314")
    needs_holdout = True
    presets: ClassVar[Mapping[str, Preset]] = {
        "paper": Preset(
            {"batch_size": 128, "alpha": 8},
            "cspartalis/LoTUS, src/bash_scripts/reproduce_results.sh and src/helpers/config.py; CIFAR-10, ResNet-18",
        ),
        "paper-cifar100": Preset(
            {"batch_size": 128, "alpha": 2},
            "cspartalis/LoTUS, src/bash_scripts/reproduce_results.sh; CIFAR-100, MUFAC and Tiny ImageNet, ResNet-18",
        ),
        "paper-class": Preset(
            {"batch_size": 128, "alpha": 32},
            "cspartalis/LoTUS, src/bash_scripts/class_reproduce_results.sh; whole classes, ResNet-18",
        ),
        "paper-vit": Preset(
            {"batch_size": 32, "epochs": 3, "lr": 1e-6, "alpha": 2},
            "cspartalis/LoTUS, src/bash_scripts/reproduce_results.sh; CIFAR-10 and CIFAR-100, ViT",
        ),
    }

    class Config(SGDRetainSettings):
        """Settings of ``lotus``; the defaults are its code's for CIFAR-10 and ResNet-18."""

        epochs: int = Field(
            10, ge=1, le=100_000, description="most passes over the forget set and the fraction of the retain set"
        )
        optimizer: Literal["sgd", "adam", "adamw"] = Field("adamw", description="update rule")
        lr: float = Field(1e-4, gt=0, le=100, description="base learning rate")
        retain_fraction: float = Field(0.3, gt=0, le=1, description="random fraction of the retain set to fine-tune on")
        alpha: float = Field(8, ge=0, le=80, description="how fast the temperature grows with the gap of accuracies")
        tolerance: float = Field(0.01, gt=0, le=1, description="the run ends where the gap is minus this, or less")

    def check(self, problem: Problem) -> None:
        """Refuse to do without unseen samples where their accuracy is needed."""
        super().check(problem)
        if problem.forget.scenario != "class":
            required_holdout(self.name, problem)

    def run(self, problem: Problem) -> nn.Module:
        """Distil the original, the hotter the more is still to be forgotten."""
        config, teacher = self.config, problem.frozen_copy()
        forget, retain = problem.forget_samples(), problem.retain_samples(config)
        rows, forgotten = joined(forget, retain), len(forget)
        known = None if config.augment_retain else logits_of(teacher, problem.data, rows.positions, problem.compute)
        wanted = 0.0
        if problem.forget.scenario != "class":
            unseen = required_holdout(self.name, problem)
            wanted = _accuracy(problem, teacher, unseen, torch.arange(len(unseen)))
        temperature = torch.ones((), device=problem.compute.device)

        def heat(_: int, model: nn.Module) -> bool:
            gap = _accuracy(problem, model, problem.data, forget.positions) - wanted
            temperature.fill_(math.exp(config.alpha * gap))
            return gap > -float(config.tolerance)

        def loss(model: nn.Module, batch: Batch) -> Tensor:
            if known is None:
                with torch.no_grad():
                    logits = teacher(batch.images).float()
            else:
                logits = known[batch.rows]
            noise = -torch.empty_like(logits).exponential_().log()
            target = tempered(logits + noise, temperature, batch.rows < forgotten)
            return functional.cross_entropy(model(batch.images).float(), target)

        return fine_tune(self, problem, rows, loss, before_epoch=heat)


def drawn_alike(wanted_M: IntArray, kinds_H: IntArray, rng: np.random.Generator) -> IntArray:
    """For each of some labels, the position of a sample with this label, drawn with replacement.

    Args:
        wanted_M: The labels.
        kinds_H: The labels of the samples to draw from; at least one.
        rng: Draws.

    Returns:
        int64 ``(M,)``; of any sample where none has the label.
    """
    order = np.argsort(kinds_H, kind="stable")
    counts = np.bincount(kinds_H, minlength=int(wanted_M.max()) + 1)
    starts = np.cumsum(counts) - counts
    found = counts[wanted_M]
    size = np.where(found > 0, found, len(kinds_H))
    return order[np.where(found > 0, starts[wanted_M], 0) + rng.integers(size)]


def at_least(positions: Tensor, rows: int) -> Tensor:
    """The positions, again from the first on until there are so many."""
    return positions[torch.arange(max(len(positions), rows)) % len(positions)]


def tempered(noisy_BC: Tensor, temperature: Tensor, soft_B: Tensor) -> Tensor:
    """Targets from logits with Gumbel noise: their softmax at a temperature, or one-hot, a draw from the softmax at 1.

    Args:
        noisy_BC: Logits plus noise.
        temperature: Above 0.
        soft_B: bool, of which rows the softmax is taken.

    Returns:
        Probabilities ``(B, C)``.
    """
    hard = torch.zeros_like(noisy_BC).scatter(1, noisy_BC.argmax(1, keepdim=True), 1)  # one_hot waits for a GPU
    return torch.where(soft_B[:, None], (noisy_BC / temperature).softmax(1), hard)


def required_holdout(method: str, problem: Problem) -> ImageData:
    """The problem's holdout.

    Raises:
        SettingError: There is none, or it is empty.
    """
    if problem.holdout is None or len(problem.holdout) == 0:
        raise SettingError(f"{method} compares with a holdout, and there is none; set one aside.")
    return problem.holdout


def _accuracy(problem: Problem, model: nn.Module, data: ImageData, positions: Tensor) -> float:
    """The fraction of some samples that are predicted correctly."""
    predicted = logits_of(model, data, positions, problem.compute).argmax(1).cpu()
    return float((predicted == data.labels[positions].cpu()).double().mean())
