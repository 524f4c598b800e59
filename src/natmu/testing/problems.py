"""Digits, small networks and problems made of them: all that the conformance suite runs methods on."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from natmu.data import (
    ImageData,
    Labelling,
    forget_from_indices,
    load,
    parse_forget,
    resolve_forget,
    without_earlier_classes,
)
from natmu.engine.compute import Compute
from natmu.engine.training import train_classifier
from natmu.methods.base import Method
from natmu.methods.problem import Problem
from natmu.records.settings import TrainSettings
from natmu.types import ForgetSet, Scenario

CPU = Compute.choose("cpu", "fp32")
TRAINING = TrainSettings(epochs=2, batch_size=32, lr=0.05, warmup_epochs=0.5)
"""The original's recipe, as far as methods are told."""

COUNT = 60
"""Samples of training data: enough for steps of every kind, few enough for hundreds of runs in a minute."""

CLASS, EARLIER = 3, 5
"""The class that is forgotten where a whole one is, and another that was forgotten before that."""

EDGES = (
    "empty",
    "full",
    "single-sample",
    "whole-class",
    "whole-class-among-others",
    "class-with-one-retain-sample",
    "all-but-one-sample",
    "no-holdout",
)
"""Forget sets and data at the edge of what can be asked for."""


def small_net(shape: tuple[int, int, int], classes: int, seed: int = 0) -> nn.Sequential:
    """A plain network with batch normalisation, whose weights depend on the seed alone.

    Examples:
        >>> import torch
        >>> small_net((1, 8, 8), 10).eval()(torch.zeros(2, 1, 8, 8)).shape
        torch.Size([2, 10])
    """
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


def unnormed_net(shape: tuple[int, int, int], classes: int, seed: int = 0) -> nn.Sequential:
    """A plain network without batch normalisation that insists on its input size.

    Examples:
        >>> import torch
        >>> unnormed_net((1, 8, 8), 10)(torch.zeros(2, 1, 8, 8)).shape
        torch.Size([2, 10])
    """
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(shape[0], 4, 3, padding=1),
            nn.Tanh(),
            nn.Flatten(),
            nn.Linear(4 * shape[1] * shape[2], 16),
            nn.Tanh(),
            nn.Linear(16, classes),
        )


@cache
def digits(start: int = 0, count: int = COUNT) -> ImageData:
    """Real images, uint8 ``(count, 1, 8, 8)``, of ten classes; never changed by the suite.

    Examples:
        >>> data = digits()
        >>> tuple(data.images.shape), data.num_classes
        ((60, 1, 8, 8), 10)
    """
    return load("digits", Path()).train.subset(np.arange(start, start + count))


@cache
def paired_digits(start: int = 0, count: int = COUNT) -> ImageData:
    """The digits with the model's classes 0-1, 2-3, ..., 8-9, and each digit as a fine label."""
    data = digits(start, count)
    return ImageData(data.images, data.labels // 2, ("01", "23", "45", "67", "89"), Labelling(data.labels, NAMES))


NAMES = tuple("0123456789")


def cropped(data: ImageData) -> ImageData:
    """The digits as odd grey images, ``(N, 1, 7, 5)``."""
    return ImageData(torch.as_tensor(data.images)[:, :, :7, 1:6], data.labels, data.class_names)


@cache
def _learnt(paired: bool, epochs: int, never: int | None) -> nn.Module:
    data = (paired_digits if paired else digits)()
    model = small_net(data.image_shape, data.num_classes)
    settings = TRAINING.model_copy(update={"epochs": epochs, "batch_size": 16, "augment": False})
    rows = torch.arange(len(data)) if never is None else (digits().labels != never).nonzero().squeeze(1)
    with torch.random.fork_rng([]):
        train_classifier(model, data, rows, settings, CPU, seed=0)
    return model


def trained(*, paired: bool = False, epochs: int = 15, never: int | None = None) -> nn.Module:
    """A network that has learnt the digits, or begun to, or all of them but one; a copy of one's own.

    Examples:
        >>> images = digits().images.float() / 255
        >>> bool((trained().eval()(images).argmax(1) == digits().labels).all())
        True
    """
    return copy.deepcopy(_learnt(paired, epochs, never))


def problem_of(
    data: ImageData,
    forget: ForgetSet | Sequence[int] | npt.NDArray[np.int64],
    *,
    model: nn.Module | None = None,
    seed: int = 0,
    batch_size: int = 32,
    initial_model: Callable[[], nn.Module] | None = None,
    holdout: ImageData | None = None,
) -> Problem:
    """A problem on the CPU in full precision.

    Args:
        data: The training data.
        forget: Which to forget; indices are taken for a forget set of that kind.
        model: The original; an untrained ``small_net`` if None.
        seed: Of the method.
        batch_size: Samples per step.
        initial_model: Makes the original's initial weights; another ``small_net`` if None.
        holdout: Samples never trained on.

    Examples:
        >>> problem = problem_of(digits(), [3, 14, 15])
        >>> problem.forget_positions.tolist()
        [3, 14, 15]
    """
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
        holdout=holdout,
    )


def usual(method: type[Method]) -> Scenario:
    """The kind of forget set that a method is run on where nothing else is asked for.

    Examples:
        >>> from natmu.methods import UNSIR, FineTune
        >>> usual(FineTune), usual(UNSIR)
        ('random', 'class')
    """
    preferred: tuple[Scenario, ...] = ("random", "indices", "hardest", "class", "subclass")
    return next(scenario for scenario in preferred if scenario in method.scenarios)


def forget_set(scenario: Scenario) -> tuple[ImageData, ForgetSet]:
    """Data and a forget set of each kind."""
    data = paired_digits() if scenario == "subclass" else digits()
    if scenario == "indices":
        return data, forget_from_indices(list(range(0, COUNT, 5)), data)
    difficulty = {"confidence": np.random.default_rng(0).random(COUNT).astype(np.float32)}
    asked = {"random": "random:20%", "hardest": "hardest:20%"}.get(scenario, f"{scenario}:{CLASS}")
    return data, resolve_forget(parse_forget(asked), data, seed=0, difficulty=difficulty)


def problem_for(scenario: Scenario, *, seed: int = 0, model: nn.Module | None = None) -> Problem:
    """A problem of a kind, with a trained original and a holdout, nothing of which is shared with another problem.

    Examples:
        >>> problem = problem_for("class")
        >>> set(problem.data.labels[problem.forget_positions].tolist())
        {3}
    """
    data, forget = forget_set(scenario)
    paired = scenario == "subclass"
    return problem_of(
        ImageData(data.images.clone(), data.labels.clone(), data.class_names, data.fine),  # type: ignore[union-attr]
        forget,
        model=trained(paired=paired) if model is None else model,
        seed=seed,
        batch_size=16,
        holdout=(paired_digits if paired else digits)(COUNT, COUNT // 2),
    )


def second_problem(scenario: Scenario) -> Problem:
    """A second request: the digit ``EARLIER`` was forgotten before, and the original has never seen it."""
    problem = problem_for(scenario, model=trained(paired=scenario == "subclass", never=EARLIER))
    digit = "subclass" if scenario == "subclass" else "class"
    earlier = resolve_forget(parse_forget(f"{digit}:{EARLIER}"), problem.data, seed=0)
    indices = np.setdiff1d(problem.forget.indices, earlier.indices)
    forget = replace(problem.forget, indices=indices).after(earlier)
    return replace(problem, forget=forget, holdout=without_earlier_classes(problem.holdout, forget))


def edge_problem(method: type[Method], edge: str) -> Problem:
    """One of ``EDGES`` in the form that a method serves.

    A method for whole classes gets the same edges through the data: a forgotten class of one sample, for instance.
    """
    scenario = usual(method)
    problem = problem_for(scenario)
    if edge == "no-holdout":
        return _with(problem, np.arange(COUNT), problem.forget.indices, scenario, holdout=False)
    fine = problem.data.fine
    labels = np.asarray(problem.data.labels if fine is None else fine.labels)
    own, other = np.flatnonzero(labels == CLASS), np.flatnonzero(labels == CLASS + 2)
    every, rest = np.arange(COUNT), np.flatnonzero(labels != CLASS)
    if scenario in ("class", "subclass"):
        two = np.union1d(own, other)
        rows, forgotten = {
            "empty": (every, own[:0]),
            "full": (own, own),
            "single-sample": (np.union1d(rest, own[:1]), own[:1]),
            "whole-class": (every, own),
            "whole-class-among-others": (every, two),
            "class-with-one-retain-sample": (np.setdiff1d(every, other[1:]), own),
            "all-but-one-sample": (np.union1d(own, other[:1]), own),
        }[edge]
    else:
        rows, forgotten = {
            "empty": (every, every[:0]),
            "full": (every, every),
            "single-sample": (every, own[:1]),
            "whole-class": (every, own),
            "whole-class-among-others": (every, np.union1d(own, rest[::9])),
            "class-with-one-retain-sample": (every, own[1:]),
            "all-but-one-sample": (every, every[1:]),
        }[edge]
    return _with(problem, rows, forgotten, scenario)


def _with(
    problem: Problem,
    rows: npt.NDArray[np.int64],
    forgotten: npt.NDArray[np.int64],
    scenario: Scenario,
    holdout: bool = True,
) -> Problem:
    """The problem with some rows of its data, of which some are forgotten."""
    fine = problem.data.fine
    labels = np.asarray(problem.data.labels if fine is None else fine.labels)
    classes = tuple(np.unique(labels[forgotten]).tolist()) if scenario in ("class", "subclass") else ()
    return problem_of(
        problem.data.subset(rows),
        ForgetSet(np.searchsorted(rows, forgotten), problem.forget.request, scenario, classes),
        model=problem.model,
        batch_size=problem.batch_size,
        holdout=problem.holdout if holdout else None,
    )


def state_of(model: nn.Module) -> dict[str, Tensor]:
    """A copy of all parameters and buffers.

    Examples:
        >>> model = small_net((1, 8, 8), 10)
        >>> before = state_of(model)
        >>> _ = model[0].weight.data.zero_()
        >>> same_state(before, state_of(model))
        False
    """
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def same_state(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    """Whether two states are equal to the bit.

    Examples:
        >>> same_state(state_of(small_net((1, 8, 8), 10)), state_of(small_net((1, 8, 8), 10, seed=1)))
        False
    """
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def loss_on(model: nn.Module, data: ImageData, positions: Tensor) -> float:
    """Mean cross-entropy in eval mode of a model's predictions on un-augmented images."""
    with torch.no_grad():
        logits = copy.deepcopy(model).eval()(data.take(positions).float() / 255)
    return float(nn.functional.cross_entropy(logits, data.labels[positions]))
