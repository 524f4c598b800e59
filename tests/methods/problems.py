"""Small models, data and problems for the tests of the methods, and a way to see what a method would train on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from natmu.data import ImageData, Labelling
from natmu.data.batches import Batches
from natmu.data.inputs import InputRange
from natmu.methods import FineTuneSettings, Method, Problem, base, method_named
from natmu.testing.problems import CPU, TRAINING, problem_of, same_state, small_net, state_of

__all__ = ["CPU", "TRAINING", "problem_of", "same_state", "small_net", "state_of"]

UNIT = InputRange(torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1), torch.ones(1, 1, 1, 1))
"""The range of images of eight bits."""

QUICK: dict[str, dict[str, Any]] = {
    "retrain": {},
    "sisa": {},
    "downdate": {},
    "natmu": {"epochs": 2, "n": 2},
    "amnesiac": {"epochs": 2},
    "bad_teacher": {"epochs": 2},
    "salun": {"epochs": 2},
    "scrub": {"epochs": 2, "max_steps": 1, "temperature": 2},
    "delete": {"epochs": 2},
    "jit": {"draws": 3},
    "grad_ascent": {"epochs": 2, "lr": 1e-3, "batch_size": 6},
    "neggrad_plus": {"epochs": 2},
    "rurk": {"epochs": 2},
    "munba": {"epochs": 2},
    "sfron": {"steps": 24, "forget_every": 2},
    "uam": {"epochs": 2},
    "negmerge": {"epoch_grid": [2, 3], "weight_decay_grid": [1e-4], "label_smoothing_grid": [0.0, 0.1]},
    "fisher": {},
    "influence": {"gradients": 16},
    "ssd": {"alpha": 1.05, "importance_batch": 7},
    "lfssd": {"alpha": 1.05, "importance_batch": 7},
    "finetune": {"epochs": 2},
    "l1_sparse": {"epochs": 2},
    "cf_k": {"epochs": 2},
    "eu_k": {"epochs": 2},
    "random_label": {"epochs": 2},
    "msg": {"epochs": 2},
    "conv_transpose": {"epochs": 2},
    "boundary_shrink": {"epochs": 2, "batch_size": 8},
    "boundary_expand": {"epochs": 2, "batch_size": 8},
    "unsir": {"noise_images": 8, "noise_copies": 2, "noise_steps": 5},
    "rum": {"medium_settings": {"epochs": 2}, "high_settings": {"epochs": 2}},
    "amun": {"epochs": 2, "attack_steps": 10},
    "regun": {"epochs": 6},
    "lotus": {"epochs": 2, "tolerance": 1},
    "quantile_match": {"epochs": 2, "retain_fraction": 0.5},
    "mu_mis": {"epochs": 2, "delta": 100},
    "reload": {"epochs": 2},
}
WITHOUT_STEPS = ("sisa", "downdate", "fisher", "influence", "ssd", "lfssd")
"""Methods that change weights without the training loop: nothing to record, and no unfinished run to keep."""
STEPPING = [n for n in QUICK if n not in WITHOUT_STEPS and "indices" in method_named(n).scenarios]
FINE_TUNING = [name for name in QUICK if issubclass(method_named(name).Config, FineTuneSettings)]


def unnormed_net(shape: tuple[int, int, int], classes: int, seed: int = 0) -> nn.Module:
    """A plain network without batch normalisation that insists on its input size."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(shape)), 24), nn.Tanh(), nn.Linear(24, classes))


def noise_data(
    count: int, shape: tuple[int, int, int] = (3, 8, 8), classes: int = 5, seed: int = 0, top: int = 256
) -> ImageData:
    """Random images with every class in turn; the first pixel tells the class, so that there is something to learn."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    images = rng.integers(0, top, (count, *shape), dtype=np.uint8)
    images[:, :, 0, 0] = (labels * (top - 1) // max(classes - 1, 1))[:, None]
    names = tuple(f"c{number}" for number in range(classes))
    return ImageData(torch.from_numpy(images), torch.from_numpy(labels), names)


def superclass_data(count: int = 120, seed: int = 0) -> ImageData:
    """Grey images with 8 fine classes in 4 coarse ones; a model's classes are the coarse ones."""
    data = noise_data(count, (1, 8, 8), 8, seed)
    fine = Labelling(data.labels, data.class_names)
    return ImageData(data.images, data.labels // 2, ("a", "b", "c", "d"), fine=fine)


@dataclass(frozen=True)
class Rows:
    """One epoch of a derived data set, put back in its order."""

    images: Tensor
    labels: Tensor
    positions: Tensor

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Intercepted:
    """What a method handed to the training loop."""

    model: nn.Module
    batches: Batches
    loss: Any
    settings: Any
    after_step: Any
    direction: Any
    second: Any

    def epoch(self, number: int = 0) -> Rows:
        """All rows of an epoch, each of which must have come exactly once."""
        batches = list(self.batches.epoch(number))
        rows = torch.cat([batch.rows for batch in batches])
        order = rows.argsort()
        assert torch.equal(rows[order], torch.arange(self.batches.rows(number)))
        return Rows(
            *(torch.cat([getattr(b, name) for b in batches])[order] for name in ("images", "labels", "positions"))
        )


def intercept(monkeypatch: Any, method: Method, problem: Problem) -> Intercepted:
    """Run a fine-tuning method up to its training, and return what it would have trained with."""
    caught: list[Intercepted] = []

    def instead(
        model, batches, loss, settings, compute, watch, after_step=None, direction=None, in_eval=(), second=None
    ):
        caught.append(Intercepted(model, batches, loss, settings, after_step, direction, second))
        return model

    with monkeypatch.context() as patch:
        patch.setattr(base, "fit", instead)
        method(problem)
    assert len(caught) == 1
    return caught[0]
