"""How close the engine's loop is to the hardware: ratios within one run.

    python benchmarks/step.py                  # a few minutes; the last line is one line of JSON
    python benchmarks/step.py --rounds 12 --batch 128 512 --device cuda

- ``train_ratio``: a step through ``natmu.engine.loop.fit`` (gather, crop and flip, hybrids, normalisation, metrics,
  schedule, checks) over a bare step: forward, backward and optimiser on one resident batch with the same model,
  precision and memory format. The two take turns, block by block. On CUDA the bare step is the replay of a graph too,
  recorded once, and each block of the engine is an epoch, in which it records its own; the rate of a bare step as
  written is printed beside it.
- ``eval_ratio``: ``natmu.engine.predict.logits_of`` over bare forward passes on one resident batch, likewise.
- ``vs_reference``: seconds of one unlearning run with NatMU (hybrids, five epochs, scores) by
  benchmarks/reference_pipeline.py over those of the same run by natmu; 3 means three times as fast.
- ``hybrid_seconds``: hybrids for 10 % of 50,000 CIFAR-sized images after the choice of classes; memory beside it.

The yardstick of a step, in TFLOP/s, is the fastest of the library's own kernels on the machine: a large product and a
large convolution, each in bf16 and in fp32, whatever the precision of the step.

Images are random: no number here depends on what they show.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context, set_start_method

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

import reference_pipeline
from natmu.data import ImageData, Splits, forget_from_indices
from natmu.data.batches import Batch, Batches, Samples, joined
from natmu.engine.compute import Compute, hardware, versions
from natmu.engine.loop import Watch, fit
from natmu.engine.memory import keep_freed_memory
from natmu.engine.meter import Meter
from natmu.engine.predict import EVALUATION_BATCH, logits_of, outputs_of
from natmu.engine.step import CudaGraphs, Replay
from natmu.methods import NatMU, Problem
from natmu.models import build_model
from natmu.records.settings import TrainSettings
from natmu.scores import scores

CLASSES = 10
Block = Callable[[], object]


def main() -> None:
    """Measure what is asked for, print a line each, and all of it as one line of JSON."""
    keep_freed_memory()
    asked = _arguments()
    compute = Compute.choose(asked.device, asked.precision)
    print(json.dumps(hardware(compute).plain() | versions()))
    print(compute.reason)
    found: dict[str, object] = {"train_ratio": {}, "eval_ratio": {}, "vs_reference": {}}
    for batch in asked.batch:
        for name in asked.models:
            bench = Bench(name, batch, compute)
            key = name if batch == asked.batch[0] else f"{name}, batch {batch}"
            found["train_ratio"][key] = bench.train(asked.rounds, asked.steps)
            found["eval_ratio"][key] = bench.evaluate(asked.rounds, max(1, asked.steps // 2))
    for name in asked.models:
        found["vs_reference"][name] = against_reference(name, compute, asked)
    found["hybrid_seconds"] = hybrids(compute)
    print(json.dumps(found))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["vgg16", "resnet18"])
    parser.add_argument("--batch", nargs="+", type=int, default=[128], help="rows per step")
    parser.add_argument("--rounds", type=int, default=3, help="pairs of blocks")
    parser.add_argument("--steps", type=int, default=2, help="steps per block")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--images", type=int, default=148, help="training images of the run against the reference")
    parser.add_argument("--pairs", type=int, default=1, help="how often that run is repeated")
    parser.add_argument("--workers", type=int, default=2, help="loader processes of the reference")
    return parser.parse_args()


class Bench:
    """One model at one batch size: the bare step, and the same through the engine."""

    def __init__(self, name: str, batch: int, compute: Compute) -> None:
        self.name, self.batch, self.compute = name, batch, compute
        self.model = compute.place(_model(name))

    def train(self, rounds: int, steps: int) -> float:
        """Median ratio of a step through the engine to a bare step; prints it with rates and spread."""
        data, samples = _derived(steps * self.batch)
        bare = self._bare_step()
        if self.compute.records:
            with self.compute.kernels():
                _, as_written = (_seconds(lambda: [bare() for _ in range(steps)], self.compute) for _ in range(2))
                recorded = CudaGraphs(self.compute.device).record(bare)
            rate = steps * self.batch / as_written
            print(f"{self.name}, batch {self.batch}, bare step as written: {rate:.0f} images/s")
            bare = recorded
        turns = _Turns(
            data.to(self.compute.device), samples, self.batch, self.compute, lambda: [bare() for _ in range(steps)]
        )
        meter = Meter(len(data), self.compute.device)
        settings = TrainSettings(epochs=rounds + 1, lr=1e-3)
        fit(self.model, turns, meter.cross_entropy, settings, self.compute, Watch("engine", meter))
        pairs = list(zip(turns.engine, turns.bare, strict=True))[1:]
        rows = steps * self.batch
        ratio = _say(f"{self.name}, batch {self.batch}, train", pairs, rows)
        flops = 3 * _forward_flops(self.name) * rows / statistics.median(turns.engine[1:])
        peak, kernel = _peak(self.compute)
        print(f"    {flops / 1e12:.2f} of {peak / 1e12:.2f} TFLOP/s of one large {kernel}: {flops / peak:.0%}")
        return ratio

    def evaluate(self, rounds: int, steps: int) -> float:
        """Median ratio of prediction through the engine to bare forward passes; prints it with rates and spread."""
        count = steps * EVALUATION_BATCH
        data = _images(count).to(self.compute.device)
        images = data.take(torch.arange(EVALUATION_BATCH)).float().div_(255)
        images = images.contiguous(memory_format=torch.channels_last)

        @torch.inference_mode()
        def bare() -> None:
            self.model.eval()
            with self.compute.autocast():
                for _ in range(steps):
                    self.model(images)

        engine = lambda: logits_of(self.model, data, torch.arange(count), self.compute)  # noqa: E731
        pairs = [(_seconds(engine, self.compute), _seconds(bare, self.compute)) for _ in range(rounds + 1)][1:]
        return _say(f"{self.name}, batch {EVALUATION_BATCH}, evaluation", pairs, count)

    def _bare_step(self) -> Replay:
        images = torch.rand(self.batch, 3, 32, 32, device=self.compute.device)
        images = images.contiguous(memory_format=torch.channels_last)
        labels = torch.arange(self.batch, device=self.compute.device) % CLASSES
        optimizer = torch.optim.SGD(self.model.parameters(), 1e-3, momentum=0.9, weight_decay=5e-4, fused=True)

        def step() -> Tensor:
            optimizer.zero_grad(set_to_none=True)
            with self.compute.autocast():
                loss = functional.cross_entropy(self.model(images).float(), labels)
            loss.backward()
            optimizer.step()
            return loss.detach()

        return step


class _Turns(Batches):
    """Batches that let the bare block run, and time it, before each epoch; and time the epoch."""

    def __init__(self, data: ImageData, samples: Samples, batch: int, compute: Compute, block: Block) -> None:
        super().__init__(data, samples, batch_size=batch, seed=0, device=compute.device)
        self._block, self._compute = block, compute
        self.bare: list[float] = []
        self.engine: list[float] = []

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """One bare block, then the batches of the epoch."""
        self.bare.append(_seconds(self._block, self._compute))
        start = time.perf_counter()
        yield from super().epoch(epoch)
        _wait(self._compute)
        self.engine.append(time.perf_counter() - start)


def against_reference(name: str, compute: Compute, asked: argparse.Namespace) -> float:
    """How many times faster one unlearning run is than by the reference pipeline, both after a small run to warm up."""
    small, pairs = (40, 1), []
    with ProcessPoolExecutor(1, get_context("spawn")) as apart:  # nothing that natmu sets in its process helps there
        for size in [small] + [(asked.images, 5)] * asked.pairs:
            reference = apart.submit(_reference, name, *size, compute.device.type, asked.workers).result()
            pairs.append((reference, _by_natmu(name, *size, compute)))
    return _say(f"{name}, one unlearning run, reference over natmu", pairs[1:], 1)


def _reference(name: str, images: int, epochs: int, device: str, workers: int) -> float:
    """Seconds to make hybrids for a tenth of the images, fine-tune and score by the reference pipeline."""
    set_start_method("fork", force=True)  # of loader processes, as in a script on Linux
    model = reference_pipeline.stock_model(name, num_classes=CLASSES, image_size=32)
    arrays = [*_arrays(_images(images)), *_arrays(_images(images // 5, seed=1))]
    seconds = reference_pipeline.unlearn_and_score(
        model, *arrays, np.arange(images // 10), epochs=epochs, device=device, workers=workers
    )
    return sum(seconds.values())


def _by_natmu(name: str, images: int, epochs: int, compute: Compute) -> float:
    """Seconds that the same takes by natmu."""
    train, test = (data.to(compute.device) for data in (_images(images), _images(images // 5, seed=1)))
    splits = Splits("random", train, test, (0.5,) * 3, (0.25,) * 3)
    problem = _problem(compute.place(_model(name)), train, np.arange(images // 10), compute)

    def run() -> None:
        unlearned = NatMU(epochs=epochs)(problem)
        scores(outputs_of(unlearned.model, splits, compute).split(problem.forget))

    return _seconds(run, compute)


def hybrids(compute: Compute) -> float:
    """Seconds to build the hybrids of 5,000 of 50,000 images, classes chosen; prints the memory that it took."""
    data = _images(50_000).to(compute.device)
    problem, method = _problem(nn.Identity(), data, np.arange(5_000), compute), NatMU()
    retain, classes = problem.retain_samples(method.config), _classes(5_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def build() -> None:
        samples = joined(retain, method.hybrids(problem, classes, 0))
        Batches(data, samples, batch_size=128, seed=0, device=compute.device)

    seconds = _seconds(build, compute)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"hybrids for 5,000 of 50,000 images: {seconds:.3f} s, {grown:.0f} MiB above the peak before")
    return round(seconds, 4)


def _say(what: str, pairs: list[tuple[float, float]], rows: int) -> float:
    """Print the median of the ratios with n, spread and rates; returns it."""
    ratios = sorted(first / second for first, second in pairs)
    rates = ""
    if rows > 1:
        engine, bare = (rows / statistics.median(column) for column in zip(*pairs, strict=True))
        rates = f"; {engine:.0f} images/s, bare {bare:.0f}"
    median = statistics.median(ratios)
    print(f"{what}: {median:.3f} ({ratios[0]:.3f} … {ratios[-1]:.3f}, n = {len(ratios)}){rates}", flush=True)
    return round(median, 3)


def _seconds(work: Block, compute: Compute) -> float:
    start = time.perf_counter()
    work()
    _wait(compute)
    return time.perf_counter() - start


def _wait(compute: Compute) -> None:
    if compute.device.type == "cuda":
        torch.cuda.synchronize(compute.device)


def _model(name: str) -> nn.Module:
    return build_model(name, num_classes=CLASSES, image_shape=(3, 32, 32), mean=(0.5,) * 3, std=(0.25,) * 3, seed=0)


def _images(count: int, seed: int = 0) -> ImageData:
    rng = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=rng)
    return ImageData(images, torch.arange(count) % CLASSES, tuple(f"class {number}" for number in range(CLASSES)))


def _arrays(data: ImageData) -> tuple[np.ndarray, np.ndarray]:
    """Images as rows of pixels with channels last, and labels, as research codes hold them."""
    assert isinstance(data.images, Tensor)
    return data.images.permute(0, 2, 3, 1).contiguous().numpy(), data.labels.numpy()


def _derived(rows: int) -> tuple[ImageData, Samples]:
    """Data, and ``rows`` rows as NatMU makes them for a tenth of it: retain images, augmented, and hybrids."""
    count = rows // 13  # nine retain rows and four hybrids to each forget sample
    data = _images(rows - 3 * count)
    problem, method = _problem(nn.Identity(), data, np.arange(count), Compute(torch.device("cpu"), "fp32")), NatMU()
    retain = problem.retain_samples(method.config)
    return data, joined(retain, method.hybrids(problem, _classes(count), 0))


def _problem(model: nn.Module, data: ImageData, forget: np.ndarray, compute: Compute) -> Problem:
    return Problem(model, data, forget_from_indices(forget, data), TrainSettings(), compute)


def _classes(count: int) -> np.ndarray:
    """Four classes for each of ``count`` forget samples, all equally often."""
    return np.stack([np.arange(number, number + 4) % CLASSES for number in range(count)])


def _forward_flops(name: str) -> float:
    """Floating-point operations of one forward pass on one image."""
    with FlopCounterMode(display=False) as counter, torch.device("meta"):
        _model(name).to("meta")(torch.empty(1, 3, 32, 32, device="meta"))
    return float(counter.get_total_flops())


@cache
def _peak(compute: Compute) -> tuple[float, str]:
    """FLOP/s of the fastest of the library's own kernels, and which that is: large products and a large convolution."""
    rates = {
        f"{name} in {str(kind).removeprefix('torch.')}": flops / min(_seconds(work, compute) for _ in range(5))
        for kind in (torch.bfloat16, torch.float32)
        for name, work, flops in _large(compute.device, kind)
    }
    fastest = max(rates, key=rates.__getitem__)
    return rates[fastest], fastest


def _large(device: torch.device, kind: torch.dtype) -> Iterator[tuple[str, Block, float]]:
    """Name, work and floating-point operations of a large square product and of a large convolution."""
    size = 8192 if device.type == "cuda" else 2048
    matrix = torch.randn(size, size, device=device).to(kind)
    yield "product", lambda: matrix @ matrix, 2.0 * size**3
    batch, channels, side = (512 if device.type == "cuda" else 64), 256, 16
    images = torch.randn(batch, channels, side, side, device=device).to(kind, memory_format=torch.channels_last)
    weight = torch.randn(channels, channels, 3, 3, device=device).to(kind, memory_format=torch.channels_last)
    work = lambda: functional.conv2d(images, weight, padding=1)  # noqa: E731
    yield "convolution", work, 2.0 * batch * side**2 * 9 * channels**2


if __name__ == "__main__":
    main()
