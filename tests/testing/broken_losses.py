"""Sound methods that follow a teacher, relabel and mask, and broken copies of them."""

from __future__ import annotations

import copy

import numpy as np
import torch
from pydantic import Field
from torch.nn import functional

from natmu.data.batches import joined, plain
from natmu.methods.base import Method, Paper, fine_tune
from natmu.methods.settings import SGDRetainSettings, SGDSettings
from natmu.testing import Row

VISIBLE = {"epochs": 8, "lr": 1e-2}
PAPER = Paper("A paper", "Somebody et al.", 2024, "https://example.org")


def slow(answers, target):
    """Jensen and Shannon's divergence of each row from its target, by the definition."""
    total = 0.0
    for left, right in zip(answers.double().softmax(1), target.double().softmax(1), strict=True):
        middle = (left + right) / 2
        total = total + sum(0.5 * (part * (part / middle).log()).sum() for part in (left, right))
    return total / len(answers)


class Follow(Method):
    """Follow the original on the retain set after an ascent on the forget set, in turns."""

    name = "follow"
    paper = PAPER

    class Config(SGDRetainSettings):
        """Settings of ``follow``."""

        weight_decay: float = Field(0.1, ge=0, le=1, description="weight decay")

    def teacher(self, problem):
        return problem.frozen_copy()

    def distance(self, answers, target):
        first, second = answers.float().log_softmax(1), target.float().log_softmax(1)
        middle = torch.stack([first, second]).logsumexp(0) - np.log(2)
        halves = (functional.kl_div(middle, side, reduction="batchmean", log_target=True) for side in (first, second))
        return sum(halves) / 2

    def passes(self, problem):
        return [problem.forget_samples(), problem.retain_samples(self.config)] * (self.config.epochs // 2)

    def run(self, problem):
        teacher = self.teacher(problem)

        def loss(model, batch):
            answers = model(batch.images)
            if batch.epoch % 2 == 0:
                return -functional.cross_entropy(answers.float(), batch.labels)
            with torch.no_grad():
                target = teacher(batch.images)
            return self.distance(answers, target) + functional.cross_entropy(answers.float(), batch.labels)

        return fine_tune(self, problem, self.passes(problem), loss)


def follow_loss(method, problem, seen):
    answers, labels = seen.student(seen.batch.images), seen.batch.labels
    right = -answers.double().log_softmax(1)[torch.arange(len(labels)), labels].mean()
    if seen.batch.epoch % 2 == 0:
        return -right
    with torch.no_grad():
        target = copy.deepcopy(problem.model).eval()(seen.batch.images)
    return right + slow(answers, target)


def following(method):
    """The row of ``follow`` and of its broken copies."""
    return Row(
        method,
        {"epochs": 2},
        visible=VISIBLE,
        teachers=1,
        passes=("forget", "retain"),
        loss=follow_loss,
        raises_forget_loss=True,
    )


class ReverseKL(Follow):
    """Follow by KL(student || teacher) where Jensen and Shannon's divergence was meant."""

    def distance(self, answers, target):
        return functional.kl_div(
            target.float().log_softmax(1), answers.float().log_softmax(1), reduction="batchmean", log_target=True
        )


class Joint(Follow):
    """Minimise one joint loss where the paper alternates."""

    def passes(self, problem):
        return [joined(problem.forget_samples(), problem.retain_samples(self.config))] * self.config.epochs


class OneObject(Follow):
    """Follow a shallow copy, which is the student."""

    def teacher(self, problem):
        return copy.copy(problem.model)


class TheStudentItself(Follow):
    """Follow the very model that is trained."""

    def teacher(self, problem):
        return problem.model


class EvalOfBoth(Follow):
    """Put a teacher in eval mode that holds the student's normalisation."""

    def run(self, problem):
        teacher = problem.frozen_copy()
        teacher[1] = problem.model[1]

        def loss(model, batch):
            with torch.no_grad():
                target = teacher.eval()(batch.images)
            return self.distance(model(batch.images), target)

        return fine_tune(self, problem, self.passes(problem), loss)


class TrainingTeacher(Follow):
    """Leave the teacher in training mode, where its running statistics move."""

    def teacher(self, problem):
        return copy.deepcopy(problem.model).train().requires_grad_(False)


class TeachersOptimizer(Follow):
    """Build the optimiser on the teacher's weights, in a loop of its own."""

    def run(self, problem):
        teacher = copy.deepcopy(problem.model)
        optimizer = torch.optim.SGD(teacher.parameters(), self.config.lr, weight_decay=self.config.weight_decay)
        positions = problem.retain_positions
        problem.model.train()
        for _ in range(self.config.epochs):
            answers = problem.model(problem.data.take(positions).float() / 255)
            optimizer.zero_grad()
            functional.cross_entropy(answers, problem.labels(positions)).backward()
            optimizer.step()
        return problem.model


class OtherSign(Follow):
    """Descend where the paper ascends."""

    def run(self, problem):
        return fine_tune(self, problem, problem.forget_samples())


class Relabel(Method):
    """Train on forget samples with labels drawn once."""

    name = "relabel"
    paper = PAPER
    needs_labels = False
    needs_retain = False

    class Config(SGDSettings):
        """Settings of ``relabel``."""

    def rng(self, problem, epoch):
        return problem.rng("labels")

    def run(self, problem):
        def samples(epoch):
            labels = self.rng(problem, epoch).integers(0, problem.data.num_classes, len(problem.forget))
            return plain(problem.forget_positions, torch.from_numpy(labels), augment=False)

        return fine_tune(self, problem, samples)


def relabelling(method):
    return Row(method, {"epochs": 2}, draws_labels="once")


class SeedlessLabels(Relabel):
    """Follow the seed in the order of samples, and not in their labels."""

    def rng(self, problem, epoch):
        return np.random.default_rng(0)


class Redrawn(Relabel):
    """Draw labels for each pass where they should stay."""

    def rng(self, problem, epoch):
        return problem.rng("labels", epoch)


class Masked(Method):
    """Train the weights below the head's bias, and put all others back after each step."""

    name = "masked"
    paper = PAPER

    class Config(SGDRetainSettings):
        """Settings of ``masked``."""

    def run(self, problem):
        kept = [(weight, weight.detach().clone()) for weight in list(problem.model.parameters())[:2]]

        @torch.no_grad()
        def put_back():
            for weight, value in kept:
                weight.copy_(value)

        return fine_tune(self, problem, problem.retain_samples(self.config), after_step=put_back)


class Drifting(Masked):
    """Mask the gradients alone, so that masked weights drift through weight decay."""

    def run(self, problem):
        def direction(terms):
            return [torch.zeros_like(gradient) if place < 2 else gradient for place, gradient in enumerate(terms[0])]

        return fine_tune(self, problem, problem.retain_samples(self.config), direction=direction)


def masked(method):
    return Row(method, {"epochs": 2}, frozen=lambda _, problem: {"0.weight": True, "0.bias": True})
