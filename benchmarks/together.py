"""Ways to train several models of one shape on the cores of one CPU, measured in turns.

    python benchmarks/together.py                                     # every case, about 10 minutes on 2 idle cores
    python benchmarks/together.py --cases small_cnn-8-64-fp32-60 --models 8 --rounds 7

A case is model, image size, batch size, precision and steps per model. Each round times three ways, one after another:

- ``in turn``: every model by the engine's loop, in this process, with all threads; the other two are compared with it;
- ``batched``: all models in one computation, ``torch.func.vmap`` over stacked weights and batches, with all threads.
  Batch normalisation is given each model's own running statistics, stacked like its weights;
- ``processes``: the models shared out among as many processes as there are cores, each with its share of the threads.

Steps of all models a second, the median over rounds and the range; ``ratio`` is the median over rounds of the rate to
that of ``in turn`` in the same round, so above 1 is faster. ``start`` is the time in seconds until the processes are
ready: imports, and one step to warm up. It is not in the rates. ``weights`` is the largest difference from the weights
that training in turn gives. A round in which other programs took more than a tenth of a core is repeated, up to
``--patience`` times as many rounds; what is then still missing is missing from ``n``. Images are random: no number here
depends on what they show.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import statistics
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, multiprocessing, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn import functional

from natmu.data import ImageData
from natmu.data.batches import Batches, plain
from natmu.engine.compute import Compute, hardware, versions
from natmu.engine.memory import keep_freed_memory
from natmu.engine.training import train_classifier
from natmu.models import build_model
from natmu.records.settings import TrainSettings

CLASSES = 10
WAYS = ("in turn", "batched", "processes")
OTHERS = 0.1
"""Processors that other programs may take during a round, and in the second before it."""

CASES = (
    "small_cnn-8-64-fp32-40",
    "small_cnn-32-128-fp32-6",
    "small_resnet-32-32-fp32-12",
    "small_resnet-32-128-fp32-4",
    "resnet18-32-32-fp32-1",
    "small_cnn-8-128-bf16-40",
    "small_resnet-32-128-bf16-6",
    "vgg16-32-128-bf16-1",
    "resnet18-32-128-bf16-1",
)


@dataclass(frozen=True)
class Case:
    """What every model is and how long it trains.

    Attributes:
        model: Name of the architecture.
        size: Height and width of an image, in pixels; smaller than 32 is grey, else colour.
        batch: Samples per step.
        compute: The CPU and a precision.
        steps: Steps of each model.
    """

    model: str
    size: int
    batch: int
    compute: Compute
    steps: int

    @classmethod
    def parse(cls, text: str) -> Case:
        """The case of a text like ``vgg16-32-128-bf16-3``."""
        model, size, batch, precision, steps = text.split("-")
        return cls(model, int(size), int(batch), Compute.choose("cpu", precision), int(steps))

    @property
    def settings(self) -> TrainSettings:
        """One epoch of so many steps."""
        return TrainSettings(epochs=1, batch_size=self.batch, lr=1e-3, warmup_epochs=0, schedule="constant")

    def data(self) -> ImageData:
        """Random images, as many as one epoch takes."""
        count, channels = self.steps * self.batch, 1 if self.size < 32 else 3
        draw = torch.Generator().manual_seed(0)
        images = torch.randint(256, (count, channels, self.size, self.size), dtype=torch.uint8, generator=draw)
        labels = torch.randint(CLASSES, (count,), generator=draw)
        return ImageData(images, labels, tuple(map(str, range(CLASSES))))

    def build(self, data: ImageData, seed: int) -> nn.Module:
        """One model, placed as the loop wants it."""
        channels = data.image_shape[0]
        model = build_model(
            self.model,
            num_classes=CLASSES,
            image_shape=data.image_shape,
            mean=[0.5] * channels,
            std=[0.25] * channels,
            seed=seed,
        )
        return self.compute.place(model)

    def train(self, model: nn.Module, data: ImageData, seed: int, steps: int | None = None) -> None:
        """Train one model by the engine's loop."""
        rows = torch.arange(len(data) if steps is None else steps * self.batch)
        train_classifier(model, data, rows, self.settings, self.compute, seed=seed)


class Timed(NamedTuple):
    """Seconds of training, processor seconds of helping processes, and the trained weights ``(models, parameters)``."""

    seconds: float
    helpers: float
    weights: Tensor


Way = Callable[[], Timed]


def in_turn(case: Case, data: ImageData, count: int) -> Timed:
    """One model after another with all threads."""
    models = [case.build(data, seed) for seed in range(count)]
    start = time.perf_counter()
    for seed, model in enumerate(models):
        case.train(model, data, seed)
    return Timed(time.perf_counter() - start, 0.0, _weights(models))


class _Norm(nn.BatchNorm2d):
    """Batch normalisation in fp32: under ``vmap`` it refuses bf16 maps with fp32 weights."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name in the base class
        """Normalised feature maps, in the type of those given."""
        return super().forward(input.float()).to(input.dtype)


def batched(case: Case, data: ImageData, count: int) -> Timed:
    """All models in one computation with all threads."""
    models = [case.build(data, seed) for seed in range(count)]
    parameters, buffers = stack_module_state(models)
    architecture = copy.deepcopy(models[0]).to("meta").train()
    for module in architecture.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.__class__ = _Norm
    settings = case.settings
    rule = torch.optim.SGD(
        list(parameters.values()),
        settings.lr,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
        fused=True,
    )
    samples = plain(torch.arange(len(data)), data.labels, augment=True)
    epochs = [
        Batches(data, samples, batch_size=case.batch, seed=seed, device=case.compute.device).epoch(0)
        for seed in range(count)
    ]

    def loss(parameters: dict[str, Tensor], buffers: dict[str, Tensor], images: Tensor, labels: Tensor) -> Tensor:
        logits = functional_call(architecture, (parameters, buffers), (images,))
        return functional.cross_entropy(logits.float(), labels)

    start = time.perf_counter()
    for batches in zip(*epochs, strict=True):
        images, labels = torch.stack([one.images for one in batches]), torch.stack([one.labels for one in batches])
        with case.compute.autocast():
            losses = vmap(loss)(parameters, buffers, images, labels)
        rule.zero_grad()
        losses.sum().backward()
        rule.step()
    seconds = time.perf_counter() - start
    return Timed(seconds, 0.0, torch.cat([parameter.detach().flatten(1) for parameter in parameters.values()], dim=1))


class Processes:
    """The models shared out among processes, each with its share of the threads."""

    def __init__(self, case: Case, data: ImageData, count: int) -> None:
        number = min(torch.get_num_threads(), count)
        context = multiprocessing.get_context("spawn")
        pipes = [context.Pipe() for _ in range(number)]
        self._connections = [ours for ours, _ in pipes]
        start = time.perf_counter()
        for index, (_, theirs) in enumerate(pipes):
            share = (case, data, range(index, count, number), torch.get_num_threads() // number, theirs)
            context.Process(target=_serve, args=share, daemon=True).start()
        self._all_say()
        self.start = time.perf_counter() - start

    def __call__(self) -> Timed:
        """Train once."""
        self._tell_all()
        self._all_say()
        start = time.perf_counter()
        self._tell_all()
        done = self._all_say()
        seconds = time.perf_counter() - start
        weights = dict(pair for _, found in done for pair in found)
        return Timed(seconds, sum(cpu for cpu, _ in done), torch.stack([weights[seed] for seed in sorted(weights)]))

    def _tell_all(self) -> None:
        for connection in self._connections:
            connection.send(True)

    def _all_say(self) -> list[Any]:
        return [connection.recv() for connection in self._connections]


def _serve(case: Case, data: ImageData, seeds: range, threads: int, connection: Connection) -> None:
    """One process: train the models of these seeds whenever it is told to."""
    torch.set_num_threads(threads)
    case.train(case.build(data, 0), data, 0, steps=1)
    connection.send(True)
    with suppress(EOFError):
        while True:
            connection.recv()
            cpu = time.process_time()
            models = [case.build(data, seed) for seed in seeds]
            connection.send(True)
            connection.recv()
            for seed, model in zip(seeds, models, strict=True):
                case.train(model, data, seed)
            trained = [(seed, weights.clone()) for seed, weights in zip(seeds, _weights(models), strict=True)]
            connection.send((time.process_time() - cpu, trained))


def quiet_round(ways: dict[str, Way]) -> dict[str, Timed] | None:
    """Time each way once; None as soon as other programs take too much of the machine."""
    found = {}
    for name, way in {"": _pause, **ways}.items():
        start, busy, own = time.perf_counter(), _busy(), time.process_time()
        found[name] = way()
        others = _busy() - busy - (time.process_time() - own) - found[name].helpers
        if others > OTHERS * (time.perf_counter() - start):
            return None
    return found


def _pause() -> Timed:
    """A second in which nothing is done."""
    time.sleep(1)
    return Timed(1.0, 0.0, torch.empty(0))


def _busy() -> float:
    """Processor seconds that the machine has spent on anything so far."""
    user, nice, system, _, _, *interrupts = map(int, Path("/proc/stat").read_text().split()[1:9])
    return (user + nice + system + sum(interrupts)) / os.sysconf("SC_CLK_TCK")


def _weights(models: list[nn.Module]) -> Tensor:
    """All parameters of each model, ``(models, parameters)``."""
    return torch.stack([torch.cat([one.detach().flatten() for one in model.parameters()]) for model in models])


def measure(case: Case, names: list[str], count: int, rounds: int, patience: int) -> None:
    """Time the ways in turns and print a line for each."""
    data = case.data()
    processes = Processes(case, data, count)
    known: dict[str, Way] = {
        "in turn": lambda: in_turn(case, data, count),
        "batched": lambda: batched(case, data, count),
        "processes": processes,
    }
    ways = {name: known[name] for name in names}
    in_turn(case, data, 1)
    found = (quiet_round(ways) for _ in range(patience * rounds))
    timed = list(islice(filter(None, found), rounds))
    if not timed:
        print("  no round without disturbance")
        return
    for name in ways:
        rates = [count * case.steps / found[name].seconds for found in timed]
        ratios = [found["in turn"].seconds / found[name].seconds for found in timed]
        difference = float((timed[0][name].weights - timed[0]["in turn"].weights).abs().max())
        start = f"{processes.start:.1f}" if name == "processes" else ""
        spread = f"{min(rates):.3g} - {max(rates):.3g}"
        print(
            f"  {name:<10}{statistics.median(rates):>10.3g}{spread:>18}{statistics.median(ratios):>7.2f}"
            f"{f'{min(ratios):.2f} - {max(ratios):.2f}':>14}{len(timed):>4}{start:>7}{difference:>10.1e}",
            flush=True,
        )


def main() -> None:
    """Measure every case and print the table."""
    keep_freed_memory()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", default=CASES, help="model-size-batch-precision-steps")
    parser.add_argument("--models", type=int, default=4, help="models of each case")
    parser.add_argument("--rounds", type=int, default=5, help="how often each way is timed")
    parser.add_argument("--patience", type=int, default=10, help="tries for each round without disturbance")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS, help="`in turn` is one of them")
    asked = parser.parse_args()
    print(json.dumps(hardware(Compute.choose("cpu", "fp32")).plain() | versions()))
    print(f"{asked.models} models\n")
    print(f"  {'way':<10}{'steps / s':>10}{'range':>18}{'ratio':>7}{'range':>14}{'n':>4}{'start':>7}{'weights':>10}")
    for text in asked.cases:
        print(text)
        measure(Case.parse(text), asked.ways, asked.models, asked.rounds, asked.patience)


if __name__ == "__main__":
    main()
