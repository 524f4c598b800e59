"""One step of training: forward, backward, update. On CUDA it is recorded as a graph and replayed."""

from __future__ import annotations

import gc
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from natmu.data.batches import Batch
from natmu.engine import processes
from natmu.engine.compute import Compute
from natmu.engine.passes import Counter, counter_of
from natmu.errors import ModelError
from natmu.progress import say
from natmu.records.passes import Shown
from natmu.records.settings import FitSettings

LossFunction = Callable[[nn.Module, Batch], Tensor | tuple[Tensor, Tensor]]
"""A loss: one mean over the rows of the batch, or that and a second one over the paired rows, to be added up."""

Gradients = list[Tensor]
"""One tensor per parameter that requires a gradient, in the model's order."""

Direction = Callable[[Sequence[Gradients]], Gradients]
"""From the gradients of a loss's terms, each computed apart, to the gradient that the optimiser follows."""

Replay = Callable[[], Tensor]

WARM_UP, WARM_UP_AGAIN = 3, 1
"""Steps taken before one is recorded, in a run's first epoch and in each later one: the first few let libraries choose
their kernels and make the optimiser's state, later ones run what Python does differently in the new epoch."""


@dataclass(frozen=True)
class Second:
    """A second optimiser over the same weights, with a state of its own, for steps of another kind.

    It takes all steps of some epochs. In the other epochs it takes the paired rows by themselves: a step that has any
    is two updates then, first the second optimiser's with the paired rows, and from there the first one's with its own.

    Attributes:
        settings: Its rule, rate, decay and schedule; the schedule is that of the whole run.
        epochs: Epochs, counted from 0, all of whose steps it takes.
        loss: Of the paired rows as a batch; None where no step has any.
        direction: What it follows; the gradient of its loss if None.
        optimizer: Made by the loop.
    """

    settings: FitSettings
    epochs: Container[int] = ()
    loss: LossFunction | None = None
    direction: Direction | None = None
    optimizer: torch.optim.Optimizer | None = None


@dataclass(frozen=True)
class Step:
    """A step as it is written: forward pass and loss, backward pass, update, constraint.

    Attributes:
        model: In training mode.
        loss: Loss of the model on a batch; called inside autocast.
        optimizer: Over the model's parameters.
        compute: Device and precision.
        after_step: Called after each update, for constraints on the weights.
        direction: What the optimiser follows; the gradient of the sum of the loss's terms if None.
        second: A second optimiser, and the steps that it takes.
    """

    model: nn.Module
    loss: LossFunction
    optimizer: torch.optim.Optimizer
    compute: Compute
    after_step: Callable[[], None] | None = None
    direction: Direction | None = None
    second: Second | None = None

    def __call__(self, batch: Batch) -> Tensor:
        """Take the step; the loss before it, detached: this process's part of it, where there are several.

        Raises:
            ModelError: Batch normalisation was given a single sample.
        """
        second = self.second
        if second is None:
            return self._update(batch)
        assert second.optimizer is not None, "the loop makes the second optimiser"
        theirs = replace(self, optimizer=second.optimizer, direction=second.direction)
        if batch.epoch in second.epochs:
            return theirs._update(batch)
        if batch.paired is None:
            return self._update(batch)
        assert second.loss is not None, "paired rows have a loss of their own where they have an optimiser"
        value = replace(theirs, loss=second.loss)._update(batch.paired)
        return value + self._update(replace(batch, paired=None))

    def _update(self, batch: Batch) -> Tensor:
        """One update by one optimiser; the loss before it."""
        self.optimizer.zero_grad(set_to_none=True)  # before the forward pass, whose activations can use their memory
        terms = self._terms(batch)
        value = sum(terms[1:], start=terms[0])
        if self.direction is None:
            value.backward()  # type: ignore[no-untyped-call]
            processes.average_gradients(list(self.model.parameters()))
        else:
            self._follow(self.direction, terms)
        self.optimizer.step()
        if self.after_step is not None:
            self.after_step()
        return value.detach()

    def _terms(self, batch: Batch) -> list[Tensor]:
        """The loss's terms, each weighted as this process's part of the step."""
        try:
            with self.compute.autocast():
                terms = self.loss(self.model, batch)
        except ValueError:
            if len(batch.labels) > 1:
                raise
            raise ModelError(
                "Batch normalisation cannot learn from a single sample; use a batch size above 1, two samples or more, "
                "and a model that keeps running statistics."
            ) from None
        if isinstance(terms, Tensor):
            return [terms * batch.weight]
        own, paired = terms
        assert batch.paired is not None, "a loss has a second term only where the step has paired rows"
        return [own * batch.weight, paired * batch.paired.weight]

    def _follow(self, direction: Direction, terms: list[Tensor]) -> None:
        """Give every parameter the gradient that is to be followed."""
        parameters = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        gradients = []
        for term in terms:
            self.optimizer.zero_grad(set_to_none=True)
            term.backward()  # type: ignore[no-untyped-call]
            processes.average_gradients(parameters)
            gradients.append([torch.zeros_like(p) if p.grad is None else p.grad for p in parameters])
        for parameter, gradient in zip(parameters, direction(gradients), strict=True):
            parameter.grad = gradient


class Recorder(Protocol):
    """What can turn a function on fixed tensors into one that launches the same work again at no cost to the host."""

    def warm(self, function: Replay) -> Tensor:
        """Call a function in the way in which it will be recorded."""

    def record(self, function: Replay) -> Replay:
        """Record what a function does, without doing it.

        Raises:
            RuntimeError: The function waits for the device, or does something else that cannot be recorded.
        """


class CudaGraphs:
    """Records on a CUDA device, on a stream of its own."""

    def __init__(self, device: torch.device) -> None:
        gc.collect()  # of what came before: a weight's gradient is written on the stream on which its node was made
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def warm(self, function: Replay) -> Tensor:
        """Call a function on the stream of the recording."""
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            value = function()
        torch.cuda.current_stream().wait_stream(self._stream)
        return value

    def record(self, function: Replay) -> Replay:
        """Capture a function's kernels; each replay launches all of them at once."""
        graph = torch.cuda.CUDAGraph()
        own_thread = "thread_local"  # another may be reading ahead meanwhile
        with torch.cuda.graph(graph, stream=self._stream, capture_error_mode=own_thread):
            value = function()

        def replay(_reads: Replay = function) -> Tensor:  # what it reads must not be freed before the graph
            graph.replay()
            return value

        return replay


class RecordedStep:
    """The steps of a run, recorded on a full batch after a few as written, anew in each epoch, and replayed.

    What Python does inside the loss and the constraint happens when the step is recorded, so it may change from epoch
    to epoch; what changes from step to step must be in tensors. Steps with and without paired rows are recorded apart.
    A step that cannot be recorded is taken as written.

    Args:
        step: The step as it is written.
        recorder: Records it.
    """

    def __init__(self, step: Step, recorder: Recorder) -> None:
        self._step = step
        self._recorder = recorder
        self._counter = counter_of(step.model) or Counter()
        self._forms: dict[bool, _Form] = {}

    def __call__(self, batch: Batch) -> Tensor:
        """Take the step; the loss before it, detached, in a tensor that the next call may overwrite."""
        form = self._form(batch)
        if batch.images.shape != form.inputs.images.shape:
            return self._step(batch)
        _copy(batch, form.inputs)
        if form.warm_up:
            form.warm_up -= 1
            before = self._counter.now()
            value = self._recorder.warm(lambda: self._step(form.inputs))
            form.shown = self._counter.since(before)
            return value
        if form.replay is None:
            form.replay = self._recorded(form)
        return form.replay()

    def _form(self, batch: Batch) -> _Form:
        """What is known of steps like this one; anew in each epoch."""
        paired = batch.paired is not None
        form = self._forms.get(paired)
        if form is None or form.inputs.epoch != batch.epoch:
            form = self._forms[paired] = _Form(_like(batch), WARM_UP if form is None else WARM_UP_AGAIN)
        return form

    def _recorded(self, form: _Form) -> Replay:
        """The step on the fixed inputs as a replay, or as it is written where it cannot be recorded."""
        try:
            with self._counter.pausing():
                launch = self._recorder.record(lambda: self._step(form.inputs))
        except RuntimeError as error:
            say(f"This step cannot be recorded and is slower for it: {str(error).splitlines()[0]}")
            return lambda: self._step(form.inputs)

        def replay() -> Tensor:
            self._counter.add(form.shown)  # a replay calls no hook
            return launch()

        return replay


@dataclass
class _Form:
    """One form of an epoch's steps: its fixed inputs, how many are still to be taken as written, its recording.

    Attributes:
        shown: What went through the model in the last step that was taken as written.
    """

    inputs: Batch
    warm_up: int
    replay: Replay | None = None
    shown: Shown = field(default_factory=Shown)


def fastest(step: Step) -> Callable[[Batch], Tensor]:
    """The fastest form of a step on its device."""
    return RecordedStep(step, CudaGraphs(step.compute.device)) if step.compute.records else step


def _like(batch: Batch) -> Batch:
    """Memory for batches of this shape."""
    tensors: dict[str, Any] = {name: torch.empty_like(value) for name, value in _tensors(batch).items()}
    return replace(batch, **tensors, paired=None if batch.paired is None else _like(batch.paired))


def _copy(batch: Batch, into: Batch) -> None:
    """Fill that memory."""
    for name, value in _tensors(batch).items():
        getattr(into, name).copy_(value)
    if batch.paired is not None and into.paired is not None:
        _copy(batch.paired, into.paired)


def _tensors(batch: Batch) -> dict[str, Tensor]:
    """What differs between batches of one shape."""
    return {field.name: value for field in fields(batch) if isinstance(value := getattr(batch, field.name), Tensor)}
