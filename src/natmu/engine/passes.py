"""How many samples go through a model and its copies, with a backward pass and without."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

import torch
from torch import Tensor, nn

from natmu.engine import processes
from natmu.models import Ensemble
from natmu.records.passes import Shown


class Counter:
    """Counts the samples that go through the models that it is attached to, and through all copies of these.

    A sample counts as trained once a gradient arrives at the model's outputs, and as forward alone until then. Where a
    second gradient arrives, the sample counts once more; so it does where the gradient is to be differentiated itself.

    Attributes:
        trained: Samples that went forward and backward.
        forward: Samples that went forward alone.
        paused: Whether nothing is counted.
    """

    def __init__(self) -> None:
        self.trained = 0
        self.forward = 0
        self.paused = False

    def __deepcopy__(self, memo: object) -> Self:
        """A copy of a model is counted with the model."""
        return self

    def __call__(self, module: nn.Module, inputs: tuple[Tensor, ...], outputs: Tensor) -> None:  # noqa: ARG002
        """Count a call of a model; this is its forward hook."""
        if self.paused:
            return
        rows = len(inputs[0])
        self.forward += rows
        if not outputs.requires_grad:
            return
        passed_back = False

        def count(gradient: Tensor) -> None:  # noqa: ARG001
            nonlocal passed_back
            if self.paused:
                return
            self.forward -= 0 if passed_back else rows
            self.trained += 2 * rows if torch.is_grad_enabled() else rows  # which it is for a second derivative
            passed_back = True

        outputs.register_hook(count)  # type: ignore[no-untyped-call]

    def attached(self, model: nn.Module) -> nn.Module:
        """Count what goes through a model; through an ensemble, what goes through each of its members."""
        for network in model.members.values() if isinstance(model, Ensemble) else (model,):
            network.register_forward_hook(self)
        return model

    def add(self, shown: Shown) -> None:
        """Count what went through unseen."""
        self.trained += shown.trained
        self.forward += shown.forward

    def now(self) -> Shown:
        """What this process has counted so far."""
        return Shown(trained=self.trained, forward=self.forward)

    def since(self, before: Shown) -> Shown:
        """What this process has counted since then."""
        return Shown(trained=self.trained - before.trained, forward=self.forward - before.forward)

    @contextmanager
    def pausing(self) -> Iterator[None]:
        """Inside, nothing is counted."""
        before, self.paused = self.paused, True
        try:
            yield
        finally:
            self.paused = before


def counter_of(model: nn.Module) -> Counter | None:
    """What counts the samples that go through a model; None where nothing does."""
    hooks = (hook for module in model.modules() for hook in module._forward_hooks.values())
    return next((hook for hook in hooks if isinstance(hook, Counter)), None)


def detached(model: nn.Module) -> nn.Module:
    """The model, whose samples are counted no more."""
    for module in model.modules():
        for key in [key for key, hook in module._forward_hooks.items() if isinstance(hook, Counter)]:
            del module._forward_hooks[key]
    return model


@contextmanager
def counted_as(model: nn.Module, shown: Shown) -> Iterator[None]:
    """Inside, what goes through a model counts as this, however it goes through.

    Args:
        model: It may be called in ways that hide from its hooks how many samples there are, as ``vmap`` does.
        shown: What it is shown.
    """
    counter = counter_of(model)
    if counter is None:
        yield
        return
    with counter.pausing():
        yield
    if not counter.paused:
        counter.add(shown)


def of_all_processes(shown: Shown, device: torch.device) -> Shown:
    """What all processes have counted together."""
    trained, forward = processes.total(torch.tensor([shown.trained, shown.forward], device=device)).tolist()
    return Shown(trained=trained, forward=forward)
