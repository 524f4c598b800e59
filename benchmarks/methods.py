"""What a step of each method costs beside its forward and backward passes: ratios within one run.

    python benchmarks/methods.py                          # some minutes; the last line is one line of JSON
    python benchmarks/methods.py --methods natmu munba --model resnet18 --rounds 8

Each run of the training loop that a method asks for is measured. Of one pass over its rows it is noted how many
images each step sends through a model, with and without gradients. The bare form of that step sends as many resident
images through the same model, calls backward and the same optimiser, and does nothing else. Bare pass and pass through
the loop (gather, hybrids, noise, losses, teachers' answers, masks, metrics, checks) take turns. Images are random.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

from natmu.data import ImageData, forget_from_indices, parse_forget, resolve_forget
from natmu.data.batches import Batch, Batches
from natmu.engine.compute import Compute, hardware, versions
from natmu.engine.loop import Watch, fit
from natmu.engine.memory import keep_freed_memory
from natmu.engine.step import LossFunction
from natmu.methods import METHODS, Method, Problem, base
from natmu.models import build_model
from natmu.records.settings import FitSettings, TrainSettings

CLASSES = 10
UNREPEATED = ("sfron", "uam")
"""Methods left out: they count their steps, so that none of their passes can be taken twice."""
SHORT = {"negmerge": {"epoch_grid": [1], "weight_decay_grid": [0.0], "label_smoothing_grid": [0.0]}}
"""Settings of methods that do not count epochs, for a single run of the loop."""
Passes = list[tuple[int, bool]]
"""Of one step: how many images went through a model, and whether with gradients."""


def main() -> None:
    """Measure what is asked for, print a line each, and all of it as one line of JSON."""
    keep_freed_memory()
    asked = _arguments()
    compute = Compute.choose(asked.device, asked.precision)
    print(json.dumps(hardware(compute).plain() | versions() | {"model": asked.model, "batch": asked.batch}))
    found = {}
    for method in METHODS:
        if method.name in (asked.methods or [one.name for one in METHODS if one.name not in UNREPEATED]):
            found |= measured(method, asked, compute)
    print(json.dumps(found))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", help="names; all by default")
    parser.add_argument("--model", default="small_resnet")
    parser.add_argument("--batch", type=int, default=128, help="rows per step")
    parser.add_argument("--rounds", type=int, default=5, help="pairs of a bare pass and one through the loop")
    parser.add_argument("--steps", type=int, default=4, help="steps of a pass over the retain set")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    return parser.parse_args()


def measured(method: type[Method], asked: argparse.Namespace, compute: Compute) -> dict[str, float]:
    """Ratio of each of a method's runs of the loop; empty for one that has none."""
    ratios: list[float] = []

    def instead(
        model: nn.Module,
        batches: Batches,
        loss: LossFunction,
        settings: FitSettings,
        compute: Compute,
        watch: Watch,
        *hooks: Any,  # noqa: ANN401 - handed on as they come
        **named: Any,  # noqa: ANN401
    ) -> nn.Module:
        watch = Watch(watch.label, watch.meter)
        slow = settings.model_copy(update={"lr": 1e-9, "warmup_epochs": 0})
        notes = Notes(batches)
        with patch.object(Compute, "records", False):  # a step that is replayed calls nothing
            fit(model, notes, notes.noting(loss), slow, compute, watch, *hooks, **named)  # type: ignore[arg-type]
        turns = Turns(batches, notes.passes, model, settings, compute, asked.rounds)
        slow = slow.model_copy(update={"epochs": turns.epochs})
        fit(model, turns, loss, slow, compute, watch, *hooks, **named)  # type: ignore[arg-type]
        ratios.append(turns.say(method.name))
        return model

    epochs = {"epochs": 1} if "epochs" in method.Config.model_fields else {}
    settings: dict[str, Any] = SHORT.get(method.name, epochs)
    with patch.object(base, "fit", instead):
        method(**settings)(_problem(method, asked, compute))
    return {f"{method.name} {number + 1}" if number else method.name: ratio for number, ratio in enumerate(ratios)}


@dataclass
class Notes:
    """The batches of a run, while every model that is called is noted.

    Attributes:
        batches: What the method asked for.
        passes: Of each step of each epoch, what went through a model.
    """

    batches: Batches
    passes: list[list[Passes]] = field(default_factory=list)

    @property
    def seed(self) -> int:
        """Of the batches."""
        return self.batches.seed

    def steps(self, epoch: int) -> int:
        """Steps of an epoch."""
        return self.batches.steps(epoch)

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """The batches of an epoch."""
        self.passes.append([])
        depth = 0

        def enter(_module: nn.Module, inputs: tuple[Any, ...]) -> None:
            nonlocal depth
            if depth == 0 and self.passes[-1]:
                self.passes[-1][-1].append((len(inputs[0]), torch.is_grad_enabled()))
            depth += 1

        def leave(*_: object) -> None:
            nonlocal depth
            depth -= 1

        hooks = [register_module_forward_pre_hook(enter), register_module_forward_hook(leave)]
        try:
            yield from self.batches.epoch(epoch)
        finally:
            for hook in hooks:
                hook.remove()

    def noting(self, loss: LossFunction) -> LossFunction:
        """The loss, which opens a new step in the notes."""

        def noted(model: nn.Module, batch: Batch) -> Any:  # noqa: ANN401 - what the loss returns
            self.passes[-1].append([])
            return loss(model, batch)

        return noted


@dataclass
class Turns:
    """The batches of a run, each pass after a bare one; times both.

    Attributes:
        batches: What the method asked for.
        passes: Of each step of each epoch, what goes through a model.
        model: What it trains.
        settings: Of its run.
        compute: Device and precision.
        rounds: How often each pass is measured.
    """

    batches: Batches
    passes: list[list[Passes]]
    model: nn.Module
    settings: FitSettings
    compute: Compute
    rounds: int
    bare: list[float] = field(default_factory=list)
    loop: list[float] = field(default_factory=list)

    @property
    def seed(self) -> int:
        """Of the batches."""
        return self.batches.seed

    @property
    def epochs(self) -> int:
        """One round to warm up, and those that count."""
        return self.settings.epochs * (self.rounds + 1)

    def steps(self, epoch: int) -> int:
        """Steps of an epoch."""
        return self.batches.steps(epoch % self.settings.epochs)

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """A bare pass, then the batches of the epoch."""
        round_, number = divmod(epoch, self.settings.epochs)
        start = self._now()
        for one in self.passes[number]:
            self._bare_step(one)
        middle = self._now()
        yield from self.batches.epoch(number)
        if round_ > 0:
            self.bare.append(middle - start)
            self.loop.append(self._now() - middle)

    def _bare_step(self, passes: Passes) -> None:
        """Forward passes, backward, optimiser."""
        if not hasattr(self, "_optimizer"):
            self._optimizer = _optimizer(self.model, self.settings)
            shape = next(iter(self.batches.epoch(0))).images.shape[1:]
            most = max(count for steps in self.passes for step in steps for count, _ in step)
            images = torch.rand(most, *shape, device=self.compute.device)
            self._images = images.contiguous(memory_format=torch.channels_last)
            self._labels = torch.arange(most, device=self.compute.device) % CLASSES
        self._optimizer.zero_grad(set_to_none=True)
        with self.compute.autocast():
            losses = []
            for count, gradients in passes:
                with torch.set_grad_enabled(gradients):
                    answers = self.model(self._images[:count]).float()
                if gradients:
                    losses.append(functional.cross_entropy(answers, self._labels[:count]))
        sum(losses[1:], start=losses[0]).backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()

    def _now(self) -> float:
        if self.compute.device.type == "cuda":
            torch.cuda.synchronize(self.compute.device)
        return time.perf_counter()

    def say(self, name: str) -> float:
        """Print the median ratio with n and spread; returns it."""
        kinds = self.settings.epochs  # passes of one round, which are added up
        loop, bare = (
            [sum(seconds[start : start + kinds]) for start in range(0, len(seconds), kinds)]
            for seconds in (self.loop, self.bare)
        )
        ratios = sorted(one / other for one, other in zip(loop, bare, strict=True))
        steps = sum(map(self.steps, range(kinds)))
        images = statistics.mean(sum(n for n, _ in step) for found in self.passes for step in found)
        median = statistics.median(ratios)
        print(
            f"{name:16} {median:.3f} ({ratios[0]:.3f} … {ratios[-1]:.3f}, n = {len(ratios)}); "
            f"{1000 * statistics.median(loop) / steps:.1f} ms a step of {images:.0f} images, bare "
            f"{1000 * statistics.median(bare) / steps:.1f}",
            flush=True,
        )
        return round(median, 3)


def _optimizer(model: nn.Module, settings: FitSettings) -> torch.optim.Optimizer:
    """The method's own kind of optimiser, at a rate that changes next to nothing."""
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    if settings.optimizer == "sgd":
        return torch.optim.SGD(
            weights, 1e-9, momentum=settings.momentum, weight_decay=settings.weight_decay, fused=True
        )
    rule: Callable[..., torch.optim.Optimizer] = (
        torch.optim.AdamW if settings.optimizer == "adamw" else torch.optim.Adam
    )
    return rule(weights, 1e-9, weight_decay=settings.weight_decay, fused=True)


def _problem(method: type[Method], asked: argparse.Namespace, compute: Compute) -> Problem:
    """Random images, a tenth or one class of which is to be forgotten."""
    rng = torch.Generator().manual_seed(0)
    count = asked.steps * asked.batch * 10 // 9

    def images(number: int) -> ImageData:
        pixels = torch.randint(0, 256, (number, 3, 32, 32), dtype=torch.uint8, generator=rng)
        return ImageData(pixels, torch.arange(number) % CLASSES, tuple(f"class {one}" for one in range(CLASSES)))

    def model(seed: int = 0) -> nn.Module:
        built = build_model(
            asked.model, num_classes=CLASSES, image_shape=(3, 32, 32), mean=(0.5,) * 3, std=(0.25,) * 3, seed=seed
        )
        return compute.place(built)

    data = images(count)
    if "random" in method.scenarios:
        forget = forget_from_indices(np.arange(0, count, 10), data)
    else:
        forget = resolve_forget(parse_forget("class:3"), data, seed=0)
    training = TrainSettings(epochs=1, batch_size=asked.batch)
    return Problem(
        model(),
        data.to(compute.device),
        forget,
        training,
        compute,
        batch_size=asked.batch,
        initial_model=model,
        holdout=images(64).to(compute.device),
    )


if __name__ == "__main__":
    main()
