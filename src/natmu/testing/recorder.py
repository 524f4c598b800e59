"""Running a method while looking on: the steps it takes, what its loss follows, and how long it may take."""

from __future__ import annotations

import copy
import ctypes
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor, nn

from natmu.data.batches import Batch
from natmu.engine.step import LossFunction, Step
from natmu.methods.base import Method
from natmu.methods.problem import Problem
from natmu.testing.exact_problems import equipped
from natmu.testing.problems import state_of
from natmu.testing.reachable import reachable


@dataclass(frozen=True, eq=False)
class Seen:
    """One step of the loop as it was taken.

    Attributes:
        run: Which run of the loop it belongs to, counted from 0.
        batch: Its rows.
        loss: The loss before the step.
        evaluating: Names of the student's modules that were in eval mode after the forward pass.
        student: A copy of the model before the step, in the mode it was in; None unless asked for.
        gradients: What the optimiser followed, by parameter's name; None unless asked for.
        directed: Whether that is anything but the gradient of the loss.

    Examples:
        >>> from natmu.methods import FineTune
        >>> outcome = perform(FineTune(epochs=1), problem_for("random"), seconds=60)
        >>> steps = outcome.recording.seen
        >>> len(steps), len(steps[0].batch.labels)  # 48 retained samples, 16 a step
        (3, 16)
    """

    run: int
    batch: Batch
    loss: Tensor
    evaluating: tuple[str, ...]
    student: nn.Module | None = None
    gradients: dict[str, Tensor] | None = None
    directed: bool = False


@dataclass(frozen=True, eq=False)
class Teacher:
    """A network that a loss follows.

    Attributes:
        model: The network itself.
        student: The model that was trained meanwhile.
        before: Its state before the first step.
        training: Whether any of its modules was ever seen in training mode.
        shared: Whether it shared storage with the student when it was found.
    """

    model: nn.Module
    student: nn.Module
    before: dict[str, Tensor]
    shared: bool
    training: list[bool] = field(default_factory=list)


class Recording:
    """What was seen of a run.

    Args:
        closely: Whether to keep a copy of the model and the gradients of every step.
    """

    def __init__(self, *, closely: bool = False) -> None:
        self.seen: list[Seen] = []
        self.teachers: list[Teacher] = []
        self.foreign_parameters = 0
        self._closely = closely
        self._optimizers: list[torch.optim.Optimizer] = []

    @contextmanager
    def looking_on(self) -> Iterator[None]:
        """Note every step that is taken inside."""
        take = Step.__call__

        def noting(step: Step, batch: Batch) -> Tensor:
            return self._note(take, step, batch)

        with mock.patch.object(Step, "__call__", noting):
            yield

    def _note(self, take: Callable[[Step, Batch], Tensor], step: Step, batch: Batch) -> Tensor:
        if all(known is not step.optimizer for known in self._optimizers):
            self._begin(step)
        student = copy.deepcopy(step.model) if self._closely else None
        gradients: dict[str, Tensor] = {}
        evaluating: list[str] = []

        def watched(model: nn.Module, batch: Batch) -> Any:  # noqa: ANN401 - as the loss itself
            terms = step.loss(model, batch)
            evaluating.extend(name or "the model" for name, module in model.named_modules() if not module.training)
            for teacher in self.teachers:
                teacher.training.append(any(module.training for module in teacher.model.modules()))
            return terms

        def followed(*_: object) -> None:
            found = ((name, parameter.grad) for name, parameter in step.model.named_parameters())
            gradients.update({name: gradient.detach().clone() for name, gradient in found if gradient is not None})

        loss: LossFunction = watched
        hook = step.optimizer.register_step_pre_hook(followed) if self._closely else None
        try:
            value = take(replace(step, loss=loss), batch)
        finally:
            if hook is not None:
                hook.remove()
        directed = step.direction is not None
        seen = Seen(
            len(self._optimizers) - 1,
            batch,
            value.clone(),
            tuple(dict.fromkeys(evaluating)),
            student,
            gradients,
            directed,
        )
        self.seen.append(seen)
        return value

    def _begin(self, step: Step) -> None:
        """Look at what a run of the loop is made of."""
        self._optimizers.append(step.optimizer)
        own = {id(module) for module in step.model.modules()}
        weights = {id(parameter) for parameter in step.model.parameters()}
        optimised = [weight for group in step.optimizer.param_groups for weight in group["params"]]
        self.foreign_parameters += sum(id(weight) not in weights for weight in optimised)
        roots = [step.loss, step.after_step, step.direction]
        modules = [found for found in reachable(roots, leaves=(nn.Module, Problem)) if isinstance(found, nn.Module)]
        inner = {id(part) for module in modules for part in module.modules() if part is not module}
        known = {id(teacher.model) for teacher in self.teachers}
        storages = storages_of(step.model)
        for module in modules:
            weighty = any(True for _ in module.parameters())
            if weighty and id(module) not in own | inner | known:
                shared = not storages.isdisjoint(storages_of(module))
                self.teachers.append(Teacher(module, step.model, state_of(module), shared))


@dataclass(frozen=True, eq=False)
class Outcome:
    """A finished run, and the world before and after it.

    Attributes:
        problem: What the method was called with.
        model: What it returned.
        before: The world before: of the original, of the data and of the global generators.
        after: The same afterwards.
        recording: The steps in between.
    """

    problem: Problem
    model: nn.Module
    before: dict[str, Any]
    after: dict[str, Any]
    recording: Recording


def perform(method: Method, problem: Problem, *, seconds: float, closely: bool = False) -> Outcome:
    """Run a method while looking on, on the problem with the shards or the head that it needs.

    Raises:
        AssertionError: It takes longer than these seconds.

    Examples:
        >>> from natmu.methods import FineTune
        >>> outcome = perform(FineTune(epochs=1), problem_for("random"), seconds=60)
        >>> same_state(outcome.before["a parameter or buffer of the original"], state_of(outcome.problem.model))
        True
    """
    problem, recording = equipped(method, problem), Recording(closely=closely)
    before = world(problem)
    with recording.looking_on(), time_limit(seconds, method.name):
        model = method(problem).model
    return Outcome(problem, model, before, world(problem), recording)


def world(problem: Problem) -> dict[str, Any]:
    """All that a method must leave as it is, by what an author would call it."""
    model, data = problem.model, problem.data
    return {
        "a parameter or buffer of the original": state_of(model),
        "train or eval mode of the original": [module.training for module in model.modules()],
        "requires_grad of the original": [parameter.requires_grad for parameter in model.parameters()],
        "a .grad of the original": [parameter.grad is None for parameter in model.parameters()],
        "the training images": data.images.clone() if isinstance(data.images, Tensor) else None,
        "the training labels": data.labels.clone(),
        "PyTorch's global generator": torch.get_rng_state(),
        "NumPy's global generator": np.random.get_state()[1].copy(),  # type: ignore[index]  # noqa: NPY002
        "Python's global generator": random.getstate(),
    }


def equal(first: Any, second: Any) -> bool:  # noqa: ANN401 - anything that a world is made of
    """Whether two parts of the world are the same to the bit."""
    if isinstance(first, Tensor):
        return torch.equal(first, second)
    if isinstance(first, np.ndarray):
        return bool(np.array_equal(first, second))
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(equal(first[name], second[name]) for name in first)
    return bool(first == second)


def storages_of(model: nn.Module) -> set[int]:
    """Where a model's parameters and buffers lie."""
    return {tensor.untyped_storage().data_ptr() for tensor in [*model.parameters(), *model.buffers()] if tensor.numel()}


def raised(kind: type[BaseException], work: Callable[[], object]) -> BaseException | None:
    """The error of this kind that some work ends with; None if it comes to its end."""
    try:
        work()
    except kind as error:
        return error
    return None


class _TimeUp(BaseException):
    """Not an Exception, so that a method that swallows those is stopped too."""


@contextmanager
def time_limit(seconds: float, what: str) -> Iterator[None]:
    """Stop what takes longer, wherever it is in its Python code.

    Raises:
        AssertionError: It did take longer.
    """
    done = threading.Event()
    own = ctypes.c_ulong(threading.get_ident())
    lock = threading.Lock()

    def stop() -> None:
        while not done.wait(seconds):
            with lock:
                if not done.is_set():
                    ctypes.pythonapi.PyThreadState_SetAsyncExc(own, ctypes.py_object(_TimeUp))

    watcher = threading.Thread(target=stop, daemon=True)
    watcher.start()
    try:
        yield
    except _TimeUp:
        raise AssertionError(f"{what} has not come to an end after {seconds:g} seconds.") from None
    finally:
        with lock:
            done.set()
        watcher.join()


class Gauge:
    """Counts the forward passes of a model and of all its copies, and can spoil one.

    Attributes:
        passes: How many there were.
        training: How many of them in training mode.
    """

    def __init__(self) -> None:
        self.passes = 0
        self.training = 0
        self.fail_at = 0
        self.spoil_at = 0

    def __deepcopy__(self, memo: object) -> Gauge:
        return self


class SpoiltError(Exception):
    """What a spoilt forward pass raises."""


class Wire(nn.Module):
    """A layer that hands its input on, and is counted.

    Args:
        gauge: Shared with every copy.
    """

    def __init__(self, gauge: Gauge) -> None:
        super().__init__()
        self.gauge = gauge

    def forward(self, images: Tensor) -> Tensor:
        """The input; NaN, or an error, where the gauge says so."""
        gauge = self.gauge
        gauge.passes += 1
        gauge.training += self.training
        if gauge.passes == gauge.fail_at:
            raise SpoiltError(f"forward pass {gauge.passes} fails on purpose")
        if self.training and gauge.training == gauge.spoil_at:
            return images * float("nan")
        return images
