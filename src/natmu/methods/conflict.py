"""Methods that reconcile the gradients of keeping and of forgetting."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from natmu.bounds import LARGEST_COUNT
from natmu.data.batches import Batch, Samples
from natmu.engine import processes
from natmu.engine.gradients import mean_over_samples
from natmu.engine.schedule import lr_factor
from natmu.engine.step import Gradients
from natmu.methods import published
from natmu.methods.base import Method, Paper, fine_tune
from natmu.methods.directions import clipped, norm_of
from natmu.methods.dual_optim import DualOptimSettings, second_optimizer
from natmu.methods.problem import Problem
from natmu.methods.rounds import rounds_of
from natmu.methods.settings import BATCH_SIZE, ForgetSettings, RetainSettings, SGDRetainSettings
from natmu.methods.step_values import step_values
from natmu.records.settings import FitSettings, Schedule

OPPOSED = 1e-3
"""Gradients whose cosine is nearer to -1 than this (2.6 degrees) have no common direction to bargain for."""


class MUNBa(Method):
    """Let keeping and forgetting bargain for each step's direction, so that neither gradient rules the other.

    Each step takes the gradients ``g_r`` of CE(D_r) and ``g_f`` of the forgetting loss, and follows the sum
    ``a_r g_r + a_f g_f`` that is the two players' Nash bargaining solution: the one that maximises the product of what
    either gains. It is the bisector of the two directions, whatever the gradients' lengths.

    When to use:
        Where the forget set's gradient is so much longer or shorter than the retain set's that a fixed weight between
        them, as in ``neggrad_plus``, is hard to find.

    Cost:
        Per epoch, one forward and one backward pass over D_r, and as many over batches of D_f: twice fine-tuning. Two
        more copies of the gradients in memory.

    Decisions:
        The sum has the norm ``sqrt(2)`` at every step (see ``nash_weights``), and like the authors' code we clip it, at
        1 by default. So the gradients' lengths decide nothing, steps do not get shorter as the losses do, and the
        learning rate is the distance that the weights move in a step: 0.001 here, or 0.01 with momentum, where the
        authors' code has 0.01. For the same reason the rate falls to 0 over the run, by default: at a constant one the
        model would never settle.
        The code adds 1e-8 to a denominator that is of the sixth power of the gradients' lengths. Where these are below
        0.05, as near a minimum, it outweighs them, and the code's weights are far from the bargain's; ours have no such
        term.
        Both sets are cropped and flipped, as in the code.
        The text ascends on the true labels and the authors' code descends on labels that are drawn anew at each visit;
        ``forget_loss`` offers both. Ascent has no end: with steps of constant length it goes on long after the set is
        forgotten, and at the rate of the code it destroys the model. Every step bargains, as in the text; the code goes
        through the forget set once per epoch and takes plain steps on D_r after that.
        Where the two gradients are opposed (``1 + cos`` < 0.001) or one is zero, there is nothing to bargain for, and
        the step follows ``g_r`` alone, clipped alike; the code takes ``g_r + 0.1 g_f`` then.

    References:
        MUNBa: Machine Unlearning via Nash Bargaining (Jing Wu, Mehrtash Harandi, 2025),
        https://arxiv.org/abs/2411.15537

    Examples:
        >>> from natmu.testing import problem_for
        >>> unlearned = MUNBa(epochs=2)(problem_for("random"))
        >>> round(unlearned.passes.passes, 1)  # over the training set
        2.8
    """

    name = "munba"
    paper = Paper("Machine Unlearning via Nash Bargaining", "Wu and Harandi", 2025, "https://arxiv.org/abs/2411.15537")
    presets = published.MUNBA

    class Config(SGDRetainSettings, ForgetSettings):
        """Settings of ``munba``."""

        augment_retain: bool = Field(True, description="random crop and flip of retain images")
        lr: float = Field(1e-3, gt=0, le=100, description="base learning rate, the length of a step without momentum")
        schedule: Schedule = Field("cosine", description="learning-rate schedule")
        forget_loss: Literal["ascent", "random_label"] = Field(
            "ascent", description="climb the loss of the true labels, or descend that of labels drawn at each visit"
        )
        max_grad_norm: float = Field(1.0, gt=0, description="norm at which the combined gradient is clipped")

    def run(self, problem: Problem) -> nn.Module:
        """Train on pairs of batches."""
        climbs, classes = self.config.forget_loss == "ascent", problem.data.num_classes

        def loss(model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
            assert batch.paired is not None
            retained = functional.cross_entropy(model(batch.images).float(), batch.labels)
            logits, labels = model(batch.paired.images).float(), batch.paired.labels
            if climbs:
                return retained, -functional.cross_entropy(logits, labels)
            return retained, functional.cross_entropy(logits, torch.randint_like(labels, classes))

        def direction(terms: Sequence[Gradients]) -> Gradients:
            retain, forget = terms
            keep, drop = nash_weights(retain, forget)
            combined = [keep * ours + drop * theirs for ours, theirs in zip(retain, forget, strict=True)]
            return clipped(combined, self.config.max_grad_norm)

        retain = problem.retain_samples(self.config)
        forget = problem.forget_samples(augment=self.config.augment_forget)
        return fine_tune(self, problem, retain, loss, paired=forget, direction=direction)


def nash_weights(retain: Gradients, forget: Gradients) -> tuple[Tensor, Tensor]:
    """The weights of two gradients in their Nash bargaining solution.

    A step ``d`` of fixed length gains ``g_i . d`` for player ``i``. The product of the gains is largest where
    ``sum_i g_i / (g_i . d)`` is parallel to ``d``; with ``d = G a``, that is ``G^T G a = 1 / a``. For two players whose
    gradients have the norms ``n_r`` and ``n_f`` and the cosine ``c``, put ``b_i = n_i a_i``: then ``b_r^2 + c b_r b_f =
    1`` and ``b_f^2 + c b_r b_f = 1``, so that ``b_r = b_f = 1 / sqrt(1 + c)`` and ``a_i = 1 / (n_i sqrt(1 + c))``. The
    combined gradient has ``|G a|^2 = a^T G^T G a = a . (1 / a) = 2``, whatever the gradients.

    Args:
        retain: The gradient of the retain loss, one tensor per parameter.
        forget: The gradient of the forgetting loss, of the same shapes.

    Returns:
        Two scalars, ``(1, 0)`` where ``1 + c`` is below ``OPPOSED`` or a gradient is zero.
    """
    length_r, length_f = norm_of(retain), norm_of(forget)
    product = torch.stack([(ours * theirs).sum() for ours, theirs in zip(retain, forget, strict=True)]).sum()
    agreement = 1 + product / length_r / length_f
    alone = (length_r == 0) | (length_f == 0) | (agreement < OPPOSED)
    shared = agreement.clamp(min=OPPOSED).rsqrt()
    return torch.where(alone, 1, shared / length_r), torch.where(alone, 0, shared / length_f)


class SFRon(Method):
    """Fine-tune on the retain set, and now and then ascend on the forget set with the weights that matter to it.

    Every step descends CE(D_r). Every fifth one also ascends CE(D_f): its samples weighted in proportion to
    ``1 / CE^lambda``, so that those already forgotten count for less; its gradient limited to the weights whose Fisher
    information on D_f is at least ``gamma`` times that on D_r; and the result scaled and clipped. The retain steps in
    between lead back to where the retain set is answered well, which stands in for a Hessian of its loss.

    When to use:
        With the retain data at hand and a budget of steps rather than of epochs. For whole classes the defaults go far
        beyond forgetting: the ascent has no end, and a forget loss in the thousands is easy to tell from a retrained
        model's; take fewer steps or a smaller ``forget_scale`` there.

    Cost:
        ``steps`` forward and backward passes over batches of D_r (1,500 of 128 samples are 4.3 epochs of CIFAR-10), and
        a fifth as many over batches of D_f. Before that, one pass over D_f and over the share of D_r that is trained on
        with the gradient of every sample on its own, which is slower than a plain pass; ``retain_fraction`` shortens
        it. Memory for two copies of the weights, and for the gradients of a chunk of samples.

    Decisions:
        The Fisher information is the mean of squared gradients of single samples, as the paper defines it, on
        un-augmented images in eval mode; the authors' code squares the gradients of whole batches instead, which is
        cheaper and blurs what single samples need. Weights that neither set reaches count as salient, as in the code.
        A forget step and the retain step after it are one step here, on the sum of both gradients taken at the same
        weights; in the code the retain gradient is taken after the forget step. Momentum carries the forget gradient
        through the steps that follow in either form. With ``forget_lr`` (DualOptim) each has an optimiser of its own,
        and the retain gradient is taken after the forget step, as in the authors' code.
        As in the code, only the forget gradient is clipped, after mask and scale, and the scale follows the schedule of
        the learning rate, so that with ``cosine`` forgetting fades with its square.
        A cross-entropy is taken to be at least 1.2e-7, the spacing of float32 at 1, before it is raised to the power:
        a sample whose loss rounds to 0 has no gradient and must not take all of the weight.
        Both sets are cropped and flipped, as in the code, but not for the Fisher information.
        Steps are counted across rounds of the retain set, each in an order of its own. A round that ends within a batch
        is followed by the next one there, and no batch shows a sample twice. Where fewer samples are retained than a
        batch has, a step takes all of them, and no more of the forget set.

    References:
        Unified Gradient-Based Machine Unlearning with Remain Geometry Enhancement (Zhehao Huang, Xinwen Cheng,
        JingHao Zheng, Haoran Wang, Zhengbao He, Tao Li, Xiaolin Huang, 2024), https://arxiv.org/abs/2409.19732

    Examples:
        >>> from natmu.testing import problem_for
        >>> unlearned = SFRon(steps=24, forget_every=2)(problem_for("random"))
        >>> round(unlearned.passes.passes, 1)  # over the training set
        9.8
    """

    name = "sfron"
    paper = Paper(
        "Unified Gradient-Based Machine Unlearning with Remain Geometry Enhancement",
        "Huang et al.",
        2024,
        "https://arxiv.org/abs/2409.19732",
    )
    presets = published.SFRON

    class Config(RetainSettings, ForgetSettings, DualOptimSettings):
        """Settings of ``sfron``; the defaults are those of its code for a tenth of CIFAR-10 and ResNet-18."""

        augment_retain: bool = Field(True, description="random crop and flip of retain images")
        steps: int = Field(1500, ge=1, le=100_000, description="steps on the retain set")
        batch_size: int | None = Field(None, ge=1, le=LARGEST_COUNT, description=BATCH_SIZE)
        optimizer: Literal["sgd", "adam", "adamw"] = Field("sgd", description="update rule")
        lr: float = Field(0.01, gt=0, le=100, description="base learning rate")
        momentum: float = Field(0.9, ge=0, lt=1, description="momentum of SGD; the others ignore it")
        weight_decay: float = Field(5e-4, ge=0, le=1, description="weight decay, decoupled for adamw")
        schedule: Schedule = Field("cosine", description="learning-rate schedule and of the forget scale")
        forget_every: int = Field(5, ge=1, le=100_000, description="every how many steps the forget loss is climbed")
        forget_scale: float = Field(25, gt=0, description="factor on the forget gradient")
        loss_power: float = Field(0.5, ge=0, le=10, description="lambda, the power of the loss that weights divide by")
        saliency_ratio: float = Field(
            1, ge=0, description="gamma, the ratio of Fisher information from which on a weight is climbed with"
        )
        max_grad_norm: float = Field(7, gt=0, description="norm at which the scaled forget gradient is clipped")

    def run(self, problem: Problem) -> nn.Module:
        """Find the salient weights, then train on the retain set, with rows of the forget set every few steps."""
        config, device = self.config, problem.compute.device
        retain, forget = problem.retain_samples(config), problem.forget_samples(augment=config.augment_forget)
        salient = self._salient(problem, retain, forget)
        every, power = config.forget_every, config.loss_power
        problem = replace(problem, batch_size=min(problem.batch_size, max(len(retain), 2 * processes.count())))
        passes = self._passes(problem, retain)
        climbs = [lr_factor(config.schedule, step + 1, config.steps) for step in range(0, config.steps, every)]
        long = math.ceil(len(passes[0]) / problem.batch_size / every)
        scale = step_values([config.forget_scale * climb for climb in climbs], long, device)

        def climb(model: nn.Module, batch: Batch) -> Tensor:
            return -scale(batch.epoch) * adaptive_loss(model(batch.images).float(), batch.labels, power)

        def loss(model: nn.Module, batch: Batch) -> Tensor | tuple[Tensor, Tensor]:
            retained = functional.cross_entropy(model(batch.images).float(), batch.labels)
            return retained if batch.paired is None else (retained, climb(model, batch.paired))

        def bounded(terms: Sequence[Gradients]) -> Gradients:
            masked = [gradient * mask for gradient, mask in zip(terms[-1], salient, strict=True)]
            return clipped(masked, config.max_grad_norm)

        def direction(terms: Sequence[Gradients]) -> Gradients:
            if len(terms) == 1:
                return terms[0]
            return [ours + theirs for ours, theirs in zip(terms[0], bounded(terms), strict=True)]

        names = ("optimizer", "lr", "momentum", "weight_decay", "schedule")
        run = FitSettings(epochs=len(passes), **{name: getattr(config, name) for name in names})
        return fine_tune(
            self,
            problem,
            passes,
            loss,
            paired=forget,
            paired_every=every,
            direction=direction,
            settings=run,
            second=second_optimizer(config, run, loss=climb, direction=bounded),
        )

    def _salient(self, problem: Problem, retain: Samples, forget: Samples) -> list[Tensor]:
        """Masks of the weights whose Fisher information on the forget set is at least gamma times the retain set's."""
        of_forget, of_retain = (
            mean_over_samples(
                problem.model, problem.data, samples, problem.compute, functional.cross_entropy, torch.square
            )
            for samples in (forget, retain)
        )
        ratio: float = self.config.saliency_ratio
        return [ours >= ratio * theirs for ours, theirs in zip(of_forget, of_retain, strict=True)]

    def _passes(self, problem: Problem, retain: Samples) -> list[Samples]:
        """The retain set, again and again, in passes that have as many full batches as there are steps."""
        every, size = self.config.forget_every, problem.batch_size
        steps = math.ceil(math.ceil(len(retain) / size) / every) * every
        rows = rounds_of(len(retain), self.config.steps * size, size, partial(problem.rng, "passes"))
        return [_taken(retain, part) for part in torch.split(rows, steps * size)]


def _taken(samples: Samples, rows: Tensor) -> Samples:
    """Some rows of a derived data set without blends, in this order."""
    return replace(
        samples,
        positions=samples.positions[rows],
        labels=samples.labels[rows],
        augmented=samples.augmented[rows],
        in_order=True,
    )


def adaptive_loss(logits_BC: Tensor, labels_B: Tensor, power: float) -> Tensor:
    """The mean cross-entropy with weights proportional to ``1 / CE^power``, which average 1 and have no gradient.

    Args:
        logits_BC: float32 ``(B, C)``.
        labels_B: int64 ``(B,)``.
        power: 0 for the plain mean.

    Returns:
        A scalar. With several processes, the weights average 1 over the rows of all.
    """
    losses = functional.cross_entropy(logits_BC, labels_B, reduction="none")
    weights = losses.detach().clamp(min=torch.finfo(losses.dtype).eps).pow(-power)
    average = processes.total(weights.mean()) / processes.count()
    return (weights / average * losses).mean()
