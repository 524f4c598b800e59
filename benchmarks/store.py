"""How long a look-up takes among ten thousand runs, and what it costs that a run survives a power cut.

    python benchmarks/store.py

A look-up asks for the folder that is called by the digest. Where there is none it looks at the records of the runs
that have names of their own, ``--named`` of them, and lists the store unless nothing came or went since the last time.
Run folders hold a record alone. ``first`` is a look-up that remembers nothing of those before it, as in a new process.
Look-ups are timed by the processor, so that other work hardly lengthens them, and by the clock.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.records import lineages
from tests.records.folders import make_run

from natmu.engine import run_names
from natmu.engine.precision import described, processor_of
from natmu.engine.store import Store
from natmu.records.disk import sync_tree

MISSING = "f" * 16


def filled(root: Path, count: int, named: int) -> Store:
    """A store of copies of one record, each with the digest that its lineage has."""
    for seed in range(count):
        lineage = lineages.trained(seed)
        folder = root / (f"named-{seed:05}" if seed < named else lineage.digest)
        if seed < named:
            make_run(folder, lineage)
            for path in folder.iterdir():
                if path.name != "record.json":
                    path.unlink()
        else:  # which no look-up reads
            folder.mkdir(parents=True)
            (folder / "record.json").write_text(json.dumps({"digest": lineage.digest}))
    (root / run_names.WORK).mkdir()
    return Store(root)


def forget_all() -> None:
    """As a new process begins."""
    run_names._digest_in.cache_clear()
    run_names._listed.cache_clear()
    run_names._read.cache_clear()


def row(name: str, runs: int, work: Callable[[], object], before: Callable[[], object] = lambda: None) -> str:
    """A row of the table: milliseconds of the processor and of the clock."""
    found = []
    for _ in range(runs):
        before()
        starts = time.process_time(), time.perf_counter()
        work()
        found.append((time.process_time() - starts[0], time.perf_counter() - starts[1]))
    processor, clock = (sorted(1000 * one for one in values) for values in zip(*found, strict=True))
    spreads = " | ".join(f"{one[0]:.2f}, {statistics.median(one):.2f}, {one[-1]:.2f}" for one in (processor, clock))
    return f"| {name} | {runs} | {spreads} |"


def written(folder: Path) -> None:
    """A run folder of six files, 48 MB in all, as a ResNet18 has."""
    folder.mkdir()
    for name, size in {"model": 45_000_000, "predictions": 3_000_000, "history": 9000, "a": 9, "b": 9, "c": 9}.items():
        (folder / name).write_bytes(bytes(size))


def removed(folder: Path) -> Path:
    """The same folder, which is not there any more."""
    shutil.rmtree(folder, ignore_errors=True)
    return folder


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20, help="repetitions of each look-up")
    parser.add_argument("--size", type=int, default=10_000, help="run folders in the store")
    parser.add_argument("--named", type=int, default=100, help="of them with a name of their own")
    parser.add_argument("--disk", type=int, default=20, help="repetitions of what is written; 0 leaves it out")
    options = parser.parse_args()
    print(f"{processor_of(described()).name}, {os.cpu_count()} cores, Python {platform.python_version()},")
    print(f"{options.size:,} runs, {options.named:,} of them with names of their own; load {os.getloadavg()[0]:.1f}.")
    print("Milliseconds: least, median, most.\n")
    print("| what | n | processor | clock |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as temporary:
        store = filled(Path(temporary, "runs"), options.size, options.named)
        last = lineages.trained(options.named - 1).digest
        there = lineages.trained(options.size - 1).digest
        store.find(MISSING)
        time.sleep(3.5)  # what was listed right after a change is not remembered
        cases = {"a run called by its digest": there, "the last named run": last, "a missing run": MISSING}
        for name, digest in cases.items():
            assert (store.find(digest) is None) == (digest == MISSING)
            print(row(name, options.runs, lambda digest=digest: store.find(digest)))
        print(row("a missing run, first", options.runs, lambda: store.find(MISSING), forget_all))
        if options.disk:
            folder = Path(temporary, "run")
            print(row("48 MB in six files written", options.disk, lambda: written(folder), lambda: removed(folder)))
            print(row("then synced", options.disk, lambda: sync_tree(folder), lambda: written(removed(folder))))


if __name__ == "__main__":
    main()
