"""A small problem with all that an audit should tell apart: retrained, original, head-only, over-forgetting models."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from natmu.data import ImageData, forget_from_indices, parse_forget, resolve_forget
from natmu.lineage.probing import probe
from natmu.scores.probe import probe_scores
from natmu.scores.verdict import judge
from natmu.testing.problems import CPU, digits
from natmu.types import ForgetSet

COUNT, STEPS = 300, 80


def network(seed):
    """A small network whose weights depend on the seed alone."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(1, 8, 3, stride=2, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(128, 64),
            nn.BatchNorm1d(64),
            nn.ReLU(),
            nn.Linear(64, 10),
        )


def inputs(data, positions):
    """Images as models take them."""
    return data.take(torch.as_tensor(positions)).float() / 255


def fit(model, parameters, loss, steps=STEPS, lr=0.01):
    """Minimise a loss over some of a model's parameters."""
    optimizer = torch.optim.Adam(parameters, lr=lr)
    for _ in range(steps):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    for parameter in model.parameters():
        parameter.grad = None
    return model.eval()


def train(data, positions, seed):
    """A model that has learnt these samples by heart."""
    model, images, labels = network(seed).train(), inputs(data, positions), data.labels[positions]
    return fit(model, model.parameters(), lambda: functional.cross_entropy(model(images), labels))


def head_only(original, data, teacher, positions):
    """The original with a new last layer that answers like another model, whatever the layers before it hold."""
    model = copy.deepcopy(original)
    with torch.no_grad():
        images = inputs(data, positions)
        wanted, features = teacher(images).softmax(1), model[:-1](images)
    return fit(
        model,
        model[-1].parameters(),
        lambda: functional.kl_div(model[-1](features).log_softmax(1), wanted, reduction="batchmean"),
        steps=1000,
        lr=0.02,
    )


def over_forgotten(original, data, retain, forget):
    """The original with forget samples made to look like nothing, so that it is wrong about them beyond chance."""
    model = copy.deepcopy(original)
    gone, kept, labels = inputs(data, forget), inputs(data, retain), data.labels[retain]

    def loss():
        features = model[:-1](kept)
        unit = features.detach().square().sum(1).mean()
        away = (model[:-1](gone) - features.mean(0).detach()).square().sum(1).mean() / unit
        return functional.cross_entropy(model[-1](features), labels) + 5 * away

    return fit(model, model[:-1].parameters(), loss, steps=150, lr=0.005)


@dataclass(frozen=True)
class World:
    """Data, what is forgotten of it, and the models."""

    data: ImageData
    forget: ForgetSet

    @cached_property
    def retain(self):
        return np.setdiff1d(np.arange(COUNT), self.forget.indices)

    @cached_property
    def retrained(self):
        return [train(self.data, self.retain, seed) for seed in range(1, 9)]

    @cached_property
    def models(self):
        original, teacher = train(self.data, np.arange(COUNT), 0), train(self.data, self.retain, 9)
        return {
            "original": original,
            "retrained": train(self.data, self.retain, 10),
            "head only": head_only(original, self.data, teacher, np.arange(COUNT)),
            "over-forgotten": over_forgotten(original, self.data, self.retain, self.forget.indices),
        }

    @cached_property
    def judges(self):
        return [probe(model, self.data, self.forget, CPU) for model in self.retrained]

    def measured(self, name):
        """The scores of one of the models by name."""
        found = [probe(self.models[one], self.data, self.forget, CPU) for one in (name, "original")]
        return probe_scores(found[0], self.judges, found[1])

    def verdict(self, name, score, level=0.95):
        """What may be said of one of the models."""
        one = self.measured(name)[score]
        return judge(score, one.value, None, one.retrained, one.original, level=level)


def memorised():
    """A fifth of the digits is forgotten, of which a third has a wrong label that only memory can give."""
    data, positions = digits(0, COUNT), np.arange(0, COUNT, 5)
    labels = data.labels.clone()
    labels[positions[::3]] = (labels[positions[::3]] + 1 + torch.arange(20) % 9) % 10
    noisy = ImageData(data.images, labels, data.class_names)
    return World(noisy, forget_from_indices(positions.tolist(), noisy))


def whole_class():
    """A class is forgotten."""
    data = digits(0, COUNT)
    return World(data, resolve_forget(parse_forget("class:5"), data, seed=0))
