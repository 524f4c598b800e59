"""How long a large ledger takes: to be checked, read, folded to a state, and to get one more entry.

    python benchmarks/ledger.py --runs 9

The ledger has 1,000 requests of 100 samples each, and 50 processes with a release each. Times are of the processor, in
seconds: the shortest, the median and the longest. The last row is a process that imports what verifies a service.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.deletion_requests.fakes import chained, opening, released, requested, started

from natmu.records.ledger import Body, Requested, body_text
from natmu.requests.keys import ServiceKey
from natmu.requests.ledger import Ledger
from natmu.requests.state import State, fold

REQUESTS, SAMPLES, RELEASES = 1000, 100, 50


def bodies() -> list[Body]:
    """What happened, without the first entry: in each process the same number of new requests is answered."""
    made: list[Body] = []
    each = REQUESTS // RELEASES
    for process in range(1, RELEASES + 1):
        numbers = range((process - 1) * each + 1, process * each + 1)
        made += [requested(number, samples=SAMPLES) for number in numbers]
        made += [
            started(process, *numbers, source=process - 1),
            released(process, process, *numbers, source=process - 1),
        ]
    return made


def filled(folder: Path) -> Ledger:
    """The ledger, filled in one transaction: a thousand would take minutes."""
    key = ServiceKey.create(folder / "service.key")
    ledger = Ledger.create(folder / "ledger.sqlite", key, opening())
    entries = chained(opening(), *bodies(), seal=key.seal)
    rows = [(one.number, one.time, body_text(one.body), one.previous, one.hash, one.seal) for one in entries]
    connection = sqlite3.connect(ledger.path)
    trigger = connection.execute("SELECT sql FROM sqlite_master WHERE name = 'never_delete'").fetchone()[0]
    for statement in ("DROP TRIGGER never_delete", "DELETE FROM entries", trigger):
        connection.execute(statement)
    connection.executemany("INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?)", rows)
    connection.commit()
    connection.close()
    ledger._head(entries[-1]).write(ledger._head_path)
    return ledger


def times_of(work: Callable[[], object], runs: int) -> str:
    """Shortest, median and longest time of the processor, children's included."""
    times = []
    for _ in range(runs):
        before = _processor_time()
        work()
        times.append(_processor_time() - before)
    return f"{min(times):.3f} {statistics.median(times):.3f} {max(times):.3f}"


def _another(state: State) -> Requested:
    """One more request."""
    return requested(len(state.requests) + 1, samples=SAMPLES)


def _processor_time() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + usage.ru_utime + usage.ru_stime


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=9, help="times that each thing is done")
    runs = parser.parse_args().runs
    print(f"# {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, n={runs}")
    with tempfile.TemporaryDirectory() as name:
        ledger = filled(Path(name))
        entries = ledger.entries()
        print(f"# {len(entries)} entries, {ledger.path.stat().st_size / 1e6:.1f} MB")
        print("work min median max")
        print("problems", times_of(ledger.problems, runs))
        print("entries", times_of(ledger.entries, runs))
        print("fold", times_of(lambda: fold(entries), runs))
        print("append", times_of(lambda: ledger.append(_another), runs))
    command = [sys.executable, "-c", "import natmu.requests.verifying"]
    print("import", times_of(lambda: subprocess.run(command, check=True), runs))


if __name__ == "__main__":
    main()
