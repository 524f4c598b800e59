"""Small models, data and problems for the tests of the methods, and a way to see what a method would train on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from natmu.data import ImageData, Labelling, forget_from_indices
from natmu.data.batches import Batches
from natmu.engine.compute import Compute
from natmu.engine.settings import TrainSettings
from natmu.methods import Method, Problem, base
from natmu.types import ForgetSet

CPU = Compute.choose("cpu", "fp32")
TRAINING = TrainSettings(epochs=2, batch_size=32, lr=0.05, warmup_epochs=0.5)
QUICK: dict[str, dict[str, Any]] = {
    "retrain": {},
    "natmu": {"epochs": 2, "n": 2},
    "amnesiac": {"epochs": 2},
    "bad_teacher": {"epochs": 2},
    "salun": {"epochs": 2},
}
FINE_TUNING = [name for name in QUICK if name != "retrain"]


def small_net(shape: tuple[int, int, int], classes: int, seed: int = 0) -> nn.Module:
    """A plain network with batch normalisation, whose weights depend on the seed alone."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(shape[0], 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(4),
            nn.Flatten(),
            nn.Linear(128, classes),
        )


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


def problem_of(
    data: ImageData,
    forget: ForgetSet | list[int] | np.ndarray,
    *,
    model: nn.Module | None = None,
    seed: int = 0,
    batch_size: int = 32,
    initial_model: Callable[[], nn.Module] | None = None,
) -> Problem:
    """A problem on the CPU in full precision; indices are taken for a forget set of that kind."""
    shape, classes = data.image_shape, data.num_classes
    return Problem(
        model=small_net(shape, classes, 1) if model is None else model,
        data=data,
        forget=forget if isinstance(forget, ForgetSet) else forget_from_indices(forget, data),
        training=TRAINING,
        compute=CPU,
        seed=seed,
        batch_size=batch_size,
        initial_model=initial_model or (lambda: small_net(shape, classes, 0)),
    )


def state_of(model: nn.Module) -> dict[str, Tensor]:
    """A copy of all parameters and buffers."""
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def same_state(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    """Whether two states are equal to the bit."""
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


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

    def instead(model, batches, loss, settings, compute, watch, after_step=None, direction=None):
        caught.append(Intercepted(model, batches, loss, settings, after_step, direction))
        return model

    with monkeypatch.context() as patch:
        patch.setattr(base, "fit", instead)
        method(problem)
    assert len(caught) == 1
    return caught[0]
