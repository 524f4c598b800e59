"""How long 5,000 photographs take to be read, and what memory they need, beside torchvision's ImageFolder.

    python benchmarks/photographs.py --photographs 5000 --rounds 3

Makes made-up photographs (500 by 375 pixels, JPEG, in ten classes) and reads them at 224 pixels (shorter side to 256,
then a crop from the middle), each time in a process of its own, in alternation:

- natmu, first start: decodes all of them into an empty folder of data, and has their digests and statistics;
- natmu, second start: finds them there;
- torchvision: one epoch of a DataLoader with two workers over ImageFolder with Resize, CenterCrop and PILToTensor.

Then threads are set beside processes: the same work on a tenth of the photographs, with Pillow alone. Seconds run from
before the reading to after it, without the start of Python and the import of PyTorch. Processor seconds, workers
included, are what other work disturbs least. ``RssAnon`` is memory that is not pages of a file.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import PIL
from PIL import Image

NATMU = """
import json, os, sys, threading, time
from pathlib import Path
from natmu.data import load
from natmu.progress import showing

def status():
    lines = dict(line.split(":", 1) for line in open("/proc/self/status") if ":" in line)
    return {name: int(lines[name].split()[0]) / 1024 for name in ("RssAnon", "RssFile")}

peaks, before, done = {}, status(), threading.Event()
def watch():
    while not done.wait(0.02):
        for name, value in status().items():
            peaks[name] = max(peaks.get(name, 0), value)
thread = threading.Thread(target=watch)
thread.start()
start, before_cpu = time.perf_counter(), time.process_time()
with showing():
    splits = load(sys.argv[1], Path(sys.argv[2]), resize=256, crop=224)
    digests = splits.train.digest, splits.test.digest
seconds, cpu = time.perf_counter() - start, time.process_time() - before_cpu
done.set()
thread.join()
print(json.dumps({"seconds": seconds, "cpu": cpu, "before": before, "peak": peaks}))
"""

TORCHVISION = """
import json, os, sys, time
from tests.vision import operators
library = operators()
import torch
from torch.utils.data import ConcatDataset, DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

steps = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224), transforms.PILToTensor()])
start, before = time.perf_counter(), sum(os.times()[:4])
parts = ConcatDataset([ImageFolder(f"{sys.argv[1]}/{part}", steps) for part in ("train", "test")])
count = sum(len(labels) for _, labels in DataLoader(parts, batch_size=64, num_workers=2))
print(json.dumps({"seconds": time.perf_counter() - start, "cpu": sum(os.times()[:4]) - before, "count": count}))
"""


def make_photographs(folder: Path, count: int) -> list[Path]:
    """Write JPEG files of smooth colours with noise, four fifths of them for training."""
    files = []
    for number in range(count):
        part = "test" if number % 5 == 0 else "train"
        files.append(folder / part / f"class{number // 5 % 10}" / f"{number:05}.jpg")
        files[-1].parent.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(number)
        colours = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        pixels = np.asarray(colours.resize((500, 375), Image.Resampling.BICUBIC), np.float32)
        noisy = pixels + 12 * rng.standard_normal((375, 500, 1), dtype=np.float32)
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(files[-1], quality=85)
    return files


def in_a_process(program: str, *words: str) -> dict[str, object]:
    """What a program prints as its last line."""
    root = Path(__file__).parents[1]
    path = os.pathsep.join([str(root / "src"), str(root)])
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, "-c", program, *words], env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def decoded(path: Path) -> int:
    """The work on one photograph, with Pillow alone."""
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB").resize((341, 256), Image.Resampling.BILINEAR).crop((58, 16, 282, 240)))
    return pixels.nbytes


def with_pool(pool: Callable[[], Executor], files: Iterable[Path]) -> tuple[float, float]:
    """Seconds that a pool takes, its own start included, and seconds of the processor."""
    start, before = time.perf_counter(), sum(os.times()[:4])
    with pool() as workers:
        sum(workers.map(decoded, files, chunksize=16))
    return time.perf_counter() - start, sum(os.times()[:4]) - before


def spread(values: list[float]) -> str:
    """Median, least and most."""
    return f"{statistics.median(values):>9.2f}{min(values):>9.2f}{max(values):>9.2f}"


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photographs", type=int, default=5000, help="how many, ten or more of them a class")
    parser.add_argument("--rounds", type=int, default=3, help="times that everything is measured")
    asked = parser.parse_args()
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, Pillow {PIL.__version__}, "
        f"{asked.photographs} photographs, n = {asked.rounds}\n"
    )
    rows: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        photographs = Path(folder, "photographs")
        files = make_photographs(photographs, asked.photographs)
        last: dict[str, object] = {}
        for number in range(asked.rounds):
            data = str(Path(folder, f"data{number}"))
            first = in_a_process(NATMU, str(photographs), data)
            theirs = in_a_process(TORCHVISION, str(photographs))
            last = in_a_process(NATMU, str(photographs), data)
            measured = {"natmu, first start": first, "torchvision, one epoch": theirs, "natmu, second start": last}
            for what, result in measured.items():
                for unit in ("seconds", "cpu"):
                    rows.setdefault(f"{what}, {unit}", []).append(float(str(result[unit])))
            for unit in ("seconds", "cpu"):
                ratio = float(str(first[unit])) / float(str(theirs[unit]))
                rows.setdefault(f"first to epoch, {unit}", []).append(ratio)
            print(f"round {number}: {measured}", file=sys.stderr, flush=True)
        _print_table("", rows)
        for what, result in (("first", first), ("second", last)):
            print(f"MiB, {what} start: before {result['before']}, peak {result['peak']}")
        _print_table("Pillow alone", _pools(files[: asked.photographs // 10], asked.rounds))
    print(f"load average {os.getloadavg()}")


def _pools(files: list[Path], rounds: int) -> dict[str, list[float]]:
    """Threads and processes in alternation."""
    spawn = multiprocessing.get_context("spawn")
    pools: dict[str, Callable[[], Executor]] = {
        "one thread": lambda: ThreadPoolExecutor(1),
        "two threads": lambda: ThreadPoolExecutor(2),
        "two processes": lambda: ProcessPoolExecutor(2, mp_context=spawn),
    }
    rows: dict[str, list[float]] = {}
    for _ in range(rounds):
        for what, pool in pools.items():
            for unit, value in zip(("seconds", "cpu"), with_pool(pool, files), strict=True):
                rows.setdefault(f"{what}, {unit}", []).append(value)
    return rows


def _print_table(title: str, rows: dict[str, list[float]]) -> None:
    print(f"\n{title:<36}{'median':>9}{'min':>9}{'max':>9}")
    for what, values in rows.items():
        print(f"{what:<36}{spread(values)}", flush=True)


if __name__ == "__main__":
    main()
