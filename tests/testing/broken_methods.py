"""A sound ascent and a sound noise, and copies of them that break what every method owes."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from pydantic import ConfigDict, Field
from torch import nn
from torch.nn import functional

from natmu.data import load
from natmu.data.batches import plain
from natmu.engine import processes
from natmu.errors import SettingError
from natmu.methods.base import Method, Unlearned, fine_tune
from natmu.methods.settings import RetainSettings, SGDSettings
from natmu.testing import Row
from natmu.types import Settings

from .broken_losses import PAPER, VISIBLE


class Climb(Method):
    """Ascend on the forget set, which takes no retain samples."""

    name = "climb"
    paper = PAPER
    needs_retain = False

    class Config(SGDSettings):
        """Settings of ``climb``."""

    def run(self, problem):
        def loss(model, batch):
            return -functional.cross_entropy(model(batch.images).float(), batch.labels)

        return fine_tune(self, problem, problem.forget_samples(), loss)


def climbing(method):
    return Row(method, {"epochs": 2}, visible=VISIBLE, raises_forget_loss=True)


class Swallowing(Climb):
    """Go on after any error."""

    def run(self, problem):
        try:
            return super().run(problem)
        except:  # noqa: E722 - the defect
            return problem.model


class Greedy(Climb):
    """Read retain samples though it says that it needs none."""

    def run(self, problem):
        with torch.no_grad():
            mean = problem.data.take(problem.retain_positions).float().mean()
            problem.model[5].bias += mean / 1e4
        return super().run(problem)


class Restoring(Climb):
    """Train on all that is not to be forgotten now, what was forgotten before included."""

    needs_retain = True

    def run(self, problem):
        everything = replace(problem, forget=replace(problem.forget, before=problem.forget.before[:0]))
        return fine_tune(self, problem, everything.retain_samples(RetainSettings()))


class Reteaching(Climb):
    """Teach all forget samples the class that was forgotten before."""

    def run(self, problem):
        gone = torch.full_like(problem.forget_positions, problem.forget.classes_before[0])
        return fine_tune(self, problem, plain(problem.forget_positions, gone, augment=False))


class Peeking(Climb):
    """Hold the test set."""

    unseen: ClassVar = load("digits", Path()).test

    def run(self, problem):
        return super().run(problem)


HELD_BY_THE_MODULE = load("digits", Path()).test.images.flatten(1).float() / 255


class PeekingFromItsModule(Climb):
    """Read the test set from where its module holds it, in another shape."""

    def run(self, problem):
        assert len(HELD_BY_THE_MODULE)
        return super().run(problem)


class Endless(Climb):
    """Repeat until all is forgotten, which never is."""

    def run(self, problem):
        while True:
            time.sleep(0.01)


class Unfinite(Climb):
    """Leave running statistics that are not numbers."""

    def run(self, problem):
        model = super().run(problem)
        model.state_dict()["1.running_mean"].fill_(float("nan")) if "1.running_mean" in model.state_dict() else None
        return model


class Optimistic(Climb):
    """Take the loss of a broken model for a good one, in a loop of its own."""

    def run(self, problem):
        problem.model.train()
        optimizer = torch.optim.SGD(problem.model.parameters(), self.config.lr)
        for _ in range(self.config.epochs):
            optimizer.zero_grad()
            answers = problem.model(problem.data.take(problem.forget_positions).float() / 255)
            loss = -functional.cross_entropy(answers, problem.labels(problem.forget_positions))
            if loss.isfinite():
                loss.backward()
                optimizer.step()
        return problem.model


class Stretching(Climb):
    """Refuse nothing, and return a model of another architecture."""

    def run(self, problem):
        return nn.Sequential(super().run(problem))


class Fragile(Climb):
    """Divide by the deviation of forget labels, of which a single sample has none."""

    def run(self, problem):
        labels = problem.labels(problem.forget_positions).tolist()
        assert sum((label - labels[0]) ** 2 for label in labels) / (len(labels) - 1) >= 0
        return super().run(problem)


class Normalised(Climb):
    """Take batch normalisation for granted."""

    def run(self, problem):
        assert problem.model[1].running_mean is not None
        return super().run(problem)


class Emptying(Climb):
    """Show the model an empty batch."""

    def run(self, problem):
        problem.model(problem.data.images[:0].float())
        return super().run(problem)


class Noise(Method):
    """Add normal noise of one scale to all weights."""

    name = "noise"
    paper = PAPER
    needs_labels = False
    needs_retain = False

    class Config(Settings):
        """Settings of ``noise``."""

        scale: float = Field(0.01, gt=0, le=1, description="standard deviation")

    def numbers(self, problem, shape):
        return torch.randn(shape)

    def run(self, problem):
        with torch.no_grad():
            for weight in filter(lambda one: one.requires_grad, problem.model.parameters()):
                weight += self.config.scale * self.numbers(problem, weight.shape)
        return problem.model


def noisy(method):
    def scales(one, problem):
        return {name: torch.full_like(value, one.config.scale) for name, value in problem.model.named_parameters()}

    return Row(method, noise=scales)


class Seedless(Noise):
    """Ignore the seed."""

    def numbers(self, problem, shape):
        return torch.randn(shape, generator=torch.Generator().manual_seed(0))


class Unseeded(Noise):
    """Draw from a generator that nobody seeded."""

    def numbers(self, problem, shape):
        return torch.from_numpy(np.random.default_rng().normal(size=tuple(shape))).float()


class Global(Noise):
    """Draw from NumPy's global generator."""

    def numbers(self, problem, shape):
        np.random.seed(problem.seed)  # noqa: NPY002
        return torch.from_numpy(np.random.normal(size=tuple(shape))).float()  # noqa: NPY002


class Variance(Noise):
    """Take the variance for the deviation."""

    def numbers(self, problem, shape):
        return torch.randn(shape) * self.config.scale**0.5


class Labelled(Noise):
    """Read labels though it says that it needs none."""

    def numbers(self, problem, shape):
        return torch.randn(shape) + float(problem.labels(problem.forget_positions)[0]) * 1e-3


class InPlace(Noise):
    """Work on the original, past the base class."""

    def __call__(self, problem):
        torch.manual_seed(problem.seed)
        return Unlearned(self.run(problem), 0.1)


class Sharing(Noise):
    """Return the original's own head."""

    def __call__(self, problem):
        unlearned = super().__call__(problem)
        unlearned.model[-1].weight = problem.model[-1].weight
        return unlearned


class Undescribed(Noise):
    """Say little"""


class Claiming(Noise):
    """Claim forget sets that it does not serve."""

    def run(self, problem):
        if problem.forget.class_wise:
            raise RuntimeError("no classes")
        return super().run(problem)


class Lenient(Noise):
    """Ignore settings that there are not."""

    class Config(Noise.Config):
        """Settings of a lenient method."""

        model_config = ConfigDict(extra="ignore")


class Unfreezing(Noise):
    """Move frozen parameters too."""

    def run(self, problem):
        return super().run(replace(problem, model=problem.model.requires_grad_(True)))


class Everywhere(Noise):
    """Serve forget sets that it does not claim."""

    scenarios = ("random", "class")

    def check(self, problem):
        """Serve everything."""


class Straying(Climb):
    """Let each process go its own way."""

    def run(self, problem):
        model = super().run(problem)
        with torch.no_grad():
            model[5].bias += 1e-6 * processes.rank()
        return model


class Summing(Climb):
    """Take the sum over processes for the mean, as a loss that is a sum over rows does."""

    def run(self, problem):
        def loss(model, batch):
            return -functional.cross_entropy(model(batch.images).float(), batch.labels) * processes.count()

        return fine_tune(self, problem, problem.forget_samples(), loss)


class Waiting(Climb):
    """Wait for the other process in the first alone."""

    def run(self, problem):
        if processes.writes():
            processes.total(torch.zeros(1))
        return super().run(problem)


class Lonely(Climb):
    """Refuse several processes in a sentence."""

    def check(self, problem):
        super().check(problem)
        if processes.count() > 1:
            raise SettingError("lonely runs in one process; start it without torchrun.")
