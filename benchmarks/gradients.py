"""Gradients per sample against a loop of backward passes over one sample each, and the memory of both.

    python benchmarks/gradients.py                                   # every case, about 2 minutes on 2 cores
    python benchmarks/gradients.py --cases small_cnn-8-64 --rounds 15

A case is model, image size and number of samples. Each round times, one after another, on the CPU in fp32:

- ``loop``: as published code does it, for each sample one forward and backward pass, and the squares of the gradients
  added up;
- ``chunks``: ``natmu.engine.gradients.mean_over_samples`` of the squares;
- ``batch``: one forward and backward pass over all samples together, which gives no gradients per sample: what no way
  of getting them can be much faster than.

Milliseconds per sample, the median over rounds and the range. ``ratio`` is the median over rounds of the time of
``loop`` to that of ``chunks`` in the same round, so above 1 is faster, and likewise for ``batch``. ``error`` is the
largest difference of the two means of squares, relative to the norm of each weight's. ``peak`` is by how many MiB the
largest memory of a process of its own grows while it takes the mean over so many samples, and over four times as many.
Images are random.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from natmu.data import ImageData
from natmu.data.batches import plain, render
from natmu.engine.compute import Compute, hardware, versions
from natmu.engine.gradients import mean_over_samples
from natmu.engine.memory import keep_freed_memory
from natmu.models import build_model

CLASSES = 10
CPU = Compute.choose("cpu", "fp32")
CASES = ("small_cnn-8-64", "small_cnn-8-256", "small_resnet-32-64", "resnet18-32-32", "vgg16-32-32", "small_vit-32-32")


def case_of(text: str) -> tuple[nn.Module, ImageData]:
    """The model and the images of a text like ``vgg16-32-64``; images smaller than 32 pixels are grey, else colour."""
    name, size, count = text.split("-")
    shape = (1 if int(size) < 32 else 3, int(size), int(size))
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(256, (int(count), *shape), dtype=torch.uint8, generator=draw)
    labels = torch.randint(CLASSES, (int(count),), generator=draw)
    mean = [0.5] * shape[0]
    model = build_model(name, num_classes=CLASSES, image_shape=shape, mean=mean, std=mean, seed=0)
    return CPU.place(model).eval(), ImageData(images, labels, tuple(map(str, range(CLASSES))))


def by_loop(model: nn.Module, data: ImageData) -> list[Tensor]:
    """Mean of squared gradients, sample by sample."""
    samples = plain(torch.arange(len(data)), data.labels, augment=False)
    sums = [torch.zeros_like(weight) for weight in model.parameters()]
    for row in torch.arange(len(data)).split(1):
        model.zero_grad()
        functional.cross_entropy(model(render(data, samples, row)), data.labels[row]).backward()
        for total, weight in zip(sums, model.parameters(), strict=True):
            total += weight.grad**2
    return [total / len(data) for total in sums]


def by_chunks(model: nn.Module, data: ImageData) -> list[Tensor]:
    """The same by the engine."""
    samples = plain(torch.arange(len(data)), data.labels, augment=False)
    return mean_over_samples(model, data, samples, CPU, functional.cross_entropy, torch.square)


def by_batch(model: nn.Module, data: ImageData) -> list[Tensor]:
    """The gradients of all samples together."""
    samples = plain(torch.arange(len(data)), data.labels, augment=False)
    loss = functional.cross_entropy(model(render(data, samples, torch.arange(len(data)))), data.labels)
    return list(torch.autograd.grad(loss, list(model.parameters())))


def peak_memory_mb() -> float:
    """Largest memory of this process since it started, in MiB; ``getrusage`` counts what its parent had."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def peak_growth(text: str) -> float:
    """MiB by which a process grows while it takes one mean."""
    ran = subprocess.run([sys.executable, __file__, "--peak", text], check=True, capture_output=True, text=True)
    return float(ran.stdout)


def measure(text: str, rounds: int) -> None:
    """Time the ways in turns and print a line for each."""
    model, data = case_of(text)
    ways: dict[str, Callable[[nn.Module, ImageData], list[Tensor]]] = {
        "loop": by_loop,
        "chunks": by_chunks,
        "batch": by_batch,
    }
    with CPU.kernels():
        found = {name: way(model, data) for name, way in ways.items()}
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(rounds):
            for name, way in ways.items():
                start = time.perf_counter()
                way(model, data)
                seconds[name].append(time.perf_counter() - start)
    error = max(float((a - b).norm() / b.norm()) for a, b in zip(found["chunks"], found["loop"], strict=True))
    for name, each in seconds.items():
        times = [1e3 * one / len(data) for one in each]
        ratios = [loop / one for loop, one in zip(seconds["loop"], each, strict=True)]
        print(
            f"  {name:<8}{statistics.median(times):>9.3g}{f'{min(times):.3g} - {max(times):.3g}':>18}"
            f"{statistics.median(ratios):>7.2f}{f'{min(ratios):.2f} - {max(ratios):.2f}':>14}{rounds:>4}",
            flush=True,
        )
    name, size, count = text.split("-")
    peaks = " and ".join(f"{peak_growth(f'{name}-{size}-{number}'):.0f}" for number in (int(count), 4 * int(count)))
    print(f"  error {error:.1e}; peak {peaks} MiB", flush=True)


def main() -> None:
    """Measure every case and print the table."""
    keep_freed_memory()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", default=CASES, help="model-size-samples")
    parser.add_argument("--rounds", type=int, default=5, help="how often each way is timed")
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.peak:
        model, data = case_of(asked.peak)
        by_batch(model, ImageData(data.images[:1], data.labels[:1], data.class_names))
        before = peak_memory_mb()
        by_chunks(model, data)
        print(peak_memory_mb() - before)
        return
    print(json.dumps(hardware(CPU).plain() | versions()))
    print(f"\n  {'way':<8}{'ms':>9}{'range':>18}{'ratio':>7}{'range':>14}{'n':>4}")
    for text in asked.cases:
        print(text)
        measure(text, asked.rounds)


if __name__ == "__main__":
    main()
