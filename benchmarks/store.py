"""How long a look-up takes among ten thousand runs, and what it costs that a run survives a power cut.

    python benchmarks/store.py --runs 9

A look-up lists the store each time, so nothing can be out of date. ``--named`` of the runs have names of their own; the
others are called by their digests. Run folders hold a record alone. ``first`` is a look-up that remembers nothing of
those before it, as in a new process. Look-ups are timed by the processor, so
that other work hardly lengthens them.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
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
    run_names._read.cache_clear()


def times(
    runs: int,
    work: Callable[[], object],
    before: Callable[[], object] = lambda: None,
    clock: Callable[[], float] = time.process_time,
) -> list[float]:
    """Milliseconds by a clock, sorted."""
    found = []
    for _ in range(runs):
        before()
        start = clock()
        work()
        found.append(1000 * (clock() - start))
    return sorted(found)


def row(name: str, found: list[float]) -> str:
    """A row of the table."""
    return f"| {name} | {found[0]:.1f} | {statistics.median(found):.1f} | {found[-1]:.1f} |"


def written(folder: Path, *, synced: bool) -> None:
    """A run folder of six files, 45 MB in all, as a ResNet18 has."""
    folder.mkdir()
    for name, size in (
        ("model", 45_000_000),
        ("predictions", 3_000_000),
        ("history", 9000),
        ("a", 9),
        ("b", 9),
        ("c", 9),
    ):
        (folder / name).write_bytes(os.urandom(size))
    if synced:
        sync_tree(folder)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=9, help="repetitions of each")
    parser.add_argument("--size", type=int, default=10_000, help="run folders in the store")
    parser.add_argument("--named", type=int, default=100, help="of them with a name of their own")
    parser.add_argument("--disk", type=int, default=5, help="repetitions of what is written; 0 leaves it out")
    options = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()},")
    print(f"n = {options.runs}, load {os.getloadavg()[0]:.1f}.")
    print("Milliseconds of the processor; of what is written, of wall time.\n")
    print("| what | min | median | max |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as temporary:
        store = filled(Path(temporary, "runs"), options.size, options.named)
        last = lineages.trained(options.named - 1).digest
        there = lineages.trained(options.size - 1).digest
        store.find(MISSING)
        cases = {"a run called by its digest": there, "the last named run": last, "a missing run": MISSING}
        for name, digest in cases.items():
            assert (store.find(digest) is None) == (digest == MISSING)
            print(row(name, times(options.runs, lambda digest=digest: store.find(digest))))
        print(row("a missing run, first", times(options.runs, lambda: store.find(MISSING), forget_all)))
        for synced in (False, True) if options.disk else ():
            places = iter(range(1000))
            name = f"48 MB in six files written{' and synced' if synced else ''}"
            work = lambda synced=synced: written(Path(temporary, f"run-{synced}-{next(places)}"), synced=synced)  # noqa: B023, E731
            print(row(name, times(options.disk, work, clock=time.perf_counter)))


if __name__ == "__main__":
    main()
