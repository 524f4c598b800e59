"""One step of training: forward, backward, update. On CUDA it is recorded as a graph and replayed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from natmu.data.batches import Batch
from natmu.engine import processes
from natmu.engine.compute import Compute
from natmu.engine.progress import say
from natmu.errors import ModelError

LossFunction = Callable[[nn.Module, Batch], Tensor]
Replay = Callable[[], Tensor]

WARM_UP = 3
"""Steps taken before the first is recorded, so that libraries have chosen their kernels and state exists."""


@dataclass(frozen=True)
class Step:
    """A step as it is written: forward pass and loss, backward pass, update, constraint.

    Attributes:
        model: In training mode.
        loss: Scalar loss of the model on a batch, a mean over its rows; called inside autocast.
        optimizer: Over the model's parameters.
        compute: Device and precision.
        after_step: Called after the update, for constraints on the weights.
    """

    model: nn.Module
    loss: LossFunction
    optimizer: torch.optim.Optimizer
    compute: Compute
    after_step: Callable[[], None] | None = None

    def __call__(self, batch: Batch) -> Tensor:
        """Take the step; the loss before it, detached: this process's part of it, where there are several.

        Raises:
            ModelError: Batch normalisation was given a single sample.
        """
        self.optimizer.zero_grad(set_to_none=True)  # before the forward pass, whose activations can use their memory
        try:
            with self.compute.autocast():
                value = self.loss(self.model, batch) * batch.weight
        except ValueError:
            if len(batch.labels) > 1:
                raise
            raise ModelError(
                "Batch normalisation cannot learn from a single sample; use a batch size above 1 and retain two "
                "samples."
            ) from None
        value.backward()  # type: ignore[no-untyped-call]
        processes.average_gradients(list(self.model.parameters()))
        self.optimizer.step()
        if self.after_step is not None:
            self.after_step()
        return value.detach()


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

        def replay() -> Tensor:
            graph.replay()
            return value

        return replay


class RecordedStep:
    """The step of one epoch, recorded on a full batch after a few steps as written, and replayed from then on.

    What Python does inside the loss and the constraint happens when the step is recorded, so it may change from epoch
    to epoch; what changes from step to step must be in tensors. A step that cannot be recorded is taken as written.

    Args:
        step: The step as it is written.
        recorder: Records it.
    """

    def __init__(self, step: Step, recorder: Recorder) -> None:
        self._step = step
        self._recorder = recorder
        self._inputs: Batch | None = None
        self._replay: Replay | None = None
        self._taken = 0

    def __call__(self, batch: Batch) -> Tensor:
        """Take the step; the loss before it, detached, in a tensor that the next call may overwrite."""
        if self._inputs is None:
            self._inputs = _like(batch)
        if batch.images.shape != self._inputs.images.shape:
            return self._step(batch)
        inputs = self._inputs
        _copy(batch, inputs)
        self._taken += 1
        if self._taken <= WARM_UP:
            return self._recorder.warm(lambda: self._step(inputs))
        if self._replay is None:
            self._replay = self._recorded(inputs)
        return self._replay()

    def _recorded(self, inputs: Batch) -> Replay:
        """The step on the fixed inputs as a replay, or as it is written where it cannot be recorded."""
        try:
            return self._recorder.record(lambda: self._step(inputs))
        except RuntimeError as error:
            say(f"This step cannot be recorded and is slower for it: {str(error).splitlines()[0]}")
            return lambda: self._step(inputs)


def for_an_epoch(step: Step) -> Callable[[Batch], Tensor]:
    """The fastest form of a step on its device."""
    return RecordedStep(step, CudaGraphs(step.compute.device)) if step.compute.records else step


def _like(batch: Batch) -> Batch:
    """Memory for batches of this shape."""
    images, labels = torch.empty_like(batch.images), torch.empty_like(batch.labels)
    return Batch(images, labels, torch.empty_like(batch.rows), torch.empty_like(batch.positions), batch.weight)


def _copy(batch: Batch, into: Batch) -> None:
    """Fill that memory."""
    into.images.copy_(batch.images)
    into.labels.copy_(batch.labels)
    into.rows.copy_(batch.rows)
    into.positions.copy_(batch.positions)
