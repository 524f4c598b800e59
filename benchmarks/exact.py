"""What exact and certified unlearning cost, and what they give: shards, heads, and attacks on both.

    python benchmarks/exact.py --data data --out exact            # all, within an hour on 2 cores
    python benchmarks/exact.py --data data --out exact --tables   # the tables of what is there, and no more

Three parts, each over ``--seeds`` seeds:

- shards: ``small_resnet`` on images of CIFAR-10, whole or in shards. Accuracy, seconds, memory and disk; requests for
  one sample with each seed, for 10 and 100 with the first. What random requests take again follows from the division,
  without training: the mean over 2,000 of them stands beside the formula.
- heads: a backbone that was trained on five classes, heads on the other five.
- attacks: of ``natmu audit``, on the forgotten samples, by the original, the unlearned and retrained models.

Each step is a process of its own, whose memory is measured with that of its children. It writes
``OUT/steps/NAME.json``; the same command goes on with what is missing, and a step that was stopped begins anew. After
each step the tables in ``--results`` are written.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import torch

import exact_attacks
import exact_heads
import exact_shards
from exact_common import Setup, Step, prepare
from exact_tables import write_tables
from natmu.engine.compute import Compute, hardware, versions
from natmu.engine.memory import keep_freed_memory
from natmu.records.files import write_atomically

RESULTS = Path(__file__).parent / "results" / "exact.md"
EVERY = 0.25
"""Seconds between two looks at the memory."""


def main() -> None:
    """Take all steps that are missing, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder that holds CIFAR-10")
    parser.add_argument("--out", type=Path, default=Path("exact"))
    parser.add_argument("--results", type=Path, default=RESULTS, help="the page whose tables are written")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--train-size", type=int, default=12_000, help="training images of models in shards")
    parser.add_argument("--half-size", type=int, default=25_000, help="training images of each half of the classes")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--models", type=int, default=8, help="retrained models of attacks, and as many shadow models")
    parser.add_argument("--only", default="", help="only steps whose names begin so")
    parser.add_argument("--tables", action="store_true", help="write the tables, and run nothing")
    asked = parser.parse_args()
    setup = Setup(asked.data, asked.out, asked.train_size, asked.half_size, asked.epochs, asked.models)
    folder = asked.out / "steps"
    folder.mkdir(parents=True, exist_ok=True)
    machine = hardware(Compute.choose("cpu", "fp32")).plain() | versions()
    for name, work in steps(setup, asked.seeds):
        path = folder / f"{name}.json"
        if asked.tables or path.exists() or not name.startswith(asked.only):
            continue
        print(time.strftime("%H:%M:%S"), name, flush=True)
        found = {"machine": machine, "load": os.getloadavg()[0], "date": time.strftime("%Y-%m-%d")} | run(work)
        write_atomically(path, (json.dumps(found, indent=1) + "\n").encode())
        write_tables(folder, asked.results, setup)
    write_tables(folder, asked.results, setup)


def steps(setup: Setup, seeds: int) -> Iterator[tuple[str, Callable[[], Step]]]:
    """All steps by name, in the order in which they are taken: the first seed of every part comes first."""
    yield "data", partial(prepare, setup)
    for kind in ("ridge", "logistic"):
        yield f"speed-{kind}", partial(exact_heads.speed, setup, kind)
    for seed in range(seeds):
        yield from _of_seed(setup, seed)
    for shards, slices, count in exact_shards.BATCHES:
        name = f"{exact_shards.store_of(shards, slices, 0)}-request-{count}"
        yield name, partial(exact_shards.request, setup, shards, slices, 0, count)


def _of_seed(setup: Setup, seed: int) -> Iterator[tuple[str, Callable[[], Step]]]:
    for shards, slices in exact_shards.DIVISIONS:
        name = exact_shards.store_of(shards, slices, seed)
        yield f"{name}-train", partial(exact_shards.train, setup, shards, slices, seed)
        if shards > 1:
            yield f"{name}-request-1", partial(exact_shards.request, setup, shards, slices, seed, 1)
    yield f"backbone-{seed}", partial(exact_heads.backbone, setup, seed)
    yield f"scratch-{seed}", partial(exact_heads.scratch, setup, seed)
    for head in exact_heads.HEADS:
        yield f"head-{head}-{seed}", partial(exact_heads.head, setup, head, seed)
    for kind in exact_attacks.KINDS:
        yield f"attack-{kind}-{seed}", partial(exact_attacks.attack, setup, kind, seed)


def run(work: Callable[[], Step]) -> Step:
    """Take a step in a process of its own, and note the memory of that process and its children at its largest."""
    context = get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(work, sender))
    process.start()
    sender.close()
    stop, sizes = threading.Event(), [0.0]
    watch = threading.Thread(target=_watch, args=(process.pid, stop, sizes))
    watch.start()
    try:
        found: Step = receiver.recv()
    except EOFError:
        process.join()
        sys.exit(f"The step ended with exit status {process.exitcode}; what it wrote stands above.")
    finally:
        stop.set()
        watch.join()
    process.join()
    return found | {"memory_mb": max(sizes)}


def _send(work: Callable[[], Step], sender: Connection[Step, None]) -> None:
    keep_freed_memory()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    sender.send(work())
    sender.close()


def _watch(process: int, stop: threading.Event, sizes: list[float]) -> None:
    while not stop.wait(EVERY):
        sizes.append(sum(map(_resident_mb, _family(process))))


def _family(process: int) -> list[int]:
    """A process and all that it started."""
    try:
        children = [
            int(child)
            for path in Path(f"/proc/{process}/task").glob("*/children")
            for child in path.read_text().split()
        ]
    except OSError:
        return []
    return [process, *(one for child in children for one in _family(child))]


def _resident_mb(process: int) -> float:
    """Memory of a process, in MiB; of what it shares with others its part (Linux)."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


if __name__ == "__main__":
    main()
