"""How long the verbs on a large service take that load no PyTorch, each as a whole process.

    python benchmarks/requests_sizes.py --runs 5

The service has 100,000 samples, 1,000 requests and 50 releases unless other numbers are given. Nothing is trained: the
list of samples is drawn at random, the models are files of a few bytes, and every entry goes through the ledger itself.
Each command runs once to warm up the file system's cache and then ``--runs`` times; an ``add`` records a new request
each time. The table gives the shortest, the median and the longest wall time in seconds, and the target that the median
should meet. Nothing is left behind unless ``--keep FOLDER`` names where the service should stay.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path

import numpy as np

from natmu.records.census import Census, CensusPart
from natmu.records.data_lineage import DataDigests, DataLineage
from natmu.records.ledger import DeployedModel, Opening, ProcessStarted, Released, Requested
from natmu.records.lineage import Architecture, Arithmetic, Imported
from natmu.records.names import SampleNames
from natmu.records.policy import Policy
from natmu.records.run import WEIGHTS, Hardware, RunRecord, write_run
from natmu.records.service import CENSUS, CURRENT, KEY, LEDGER, MODELS, POLICY, SERVICE, ServiceRecord
from natmu.requests.keys import ServiceKey
from natmu.requests.ledger import Ledger

PENDING = 20
"""Requests that no release answers."""

SAMPLES_EACH = 10
"""Training samples of a request."""

HARDWARE = Hardware(device="cpu", precision="fp32", processor="any", threads=1)
DIGEST_BYTES = 16
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def census_of(samples: int, draw: np.random.Generator) -> Census:
    """A list of samples of ten classes, a tenth as many of them test samples."""

    def part(count: int, folder: str) -> CensusPart:
        names = [f"{folder}/{row % 10}/{row:07d}.jpg" for row in range(count)]
        pixels = draw.integers(0, 256, (count, DIGEST_BYTES), np.uint8)
        no_files = np.zeros((0, DIGEST_BYTES), np.uint8)
        return CensusPart(SampleNames.of_source(count, names), np.arange(count) % 10, pixels, no_files)

    classes = tuple(map(str, range(10)))
    return Census(classes, (3, 32, 32), "uint8", part(samples, "train"), part(samples // 10, "test"))


def write_model(models: Path, data: DataLineage, number: int) -> DeployedModel:
    """A run with weights of a few bytes."""
    arithmetic = Arithmetic(precision="fp32")
    network = Architecture(name="small_cnn")
    lineage = Imported(data=data, architecture=network, arithmetic=arithmetic, weights=f"{number:032x}", recipe=None)
    folder = models / lineage.digest
    folder.mkdir(parents=True)
    (folder / WEIGHTS).write_bytes(f"weights of model {number}".encode() * 100)
    write_run(
        folder,
        lambda digests: RunRecord(
            lineage=lineage,
            digest=lineage.digest,
            scores={},
            seconds=1.0,
            peak_memory_mb=1.0,
            versions={},
            hardware=HARDWARE,
            finished=BEGAN.isoformat(),
            files=digests,
        ),
    )
    record = RunRecord.read(folder / "record.json")
    return DeployedModel(run=record.digest, weights=record.files[WEIGHTS])


def write_service(folder: Path, samples: int, requests: int, releases: int) -> None:
    """A service whose ledger tells of some years."""
    folder.mkdir(parents=True)
    draw = np.random.default_rng(0)
    census, key = census_of(samples, draw), ServiceKey.create(folder / KEY)
    census.write(folder / CENSUS, key.seal)
    source = folder.parent / "data.npz"
    np.savez(source, x_train=np.zeros((1, 8, 8), np.uint8))
    policy = Policy()
    (folder / POLICY).write_bytes((files("natmu.requests") / POLICY).read_bytes())
    data = DataLineage(
        source=str(source), image_size=None, train_size=None, holdout=False, digests=DataDigests(train="a", test="b")
    )
    current = write_model(folder / MODELS, data, 0)
    write_record(folder, data, current)
    ledger = Ledger.create(
        folder / LEDGER,
        key,
        Opening(
            original=current,
            architecture="small_cnn",
            training="10 epochs",
            accuracies={"train_acc": 100.0, "test_acc": 90.0},
            samples=samples,
            census=census.digest,
            retraining_seconds=3600.0,
            policy=policy,
            versions={},
        ),
    )
    order = draw.permutation(samples)[: requests * SAMPLES_EACH].reshape(requests, SAMPLES_EACH)
    shares = np.array_split(np.arange(1, requests + 1 - PENDING), releases)
    for release, share in enumerate(shares, 1):
        for number in share.tolist():
            append_request(ledger, census, number, np.sort(order[number - 1]))
        model = write_model(folder / MODELS, data, release)
        append_release(ledger, policy, release, tuple(share.tolist()), current, model)
        current = model
    for number in range(requests + 1 - PENDING, requests + 1):
        append_request(ledger, census, number, np.sort(order[number - 1]))
    (folder / CURRENT).symlink_to(Path(MODELS) / current.run)


def write_record(folder: Path, data: DataLineage, original: DeployedModel) -> None:
    """What the service is about."""
    ServiceRecord(
        original=original.run,
        data=data,
        source=data.source,
        data_dir=str(folder.parent / "data"),
        architecture=Architecture(name="small_cnn"),
        arithmetic=Arithmetic(precision="fp32"),
        recipe=None,
        mean=(0.5,) * 3,
        std=(0.25,) * 3,
    ).write(folder / SERVICE)


def append_request(ledger: Ledger, census: Census, number: int, rows: np.ndarray) -> None:
    """A request, one a day."""
    received = BEGAN + timedelta(days=number)
    body = Requested(
        request=number,
        ticket=f"T-{number}",
        asked="files",
        samples=census.pixel_digests(rows),
        received=received.isoformat(),
        due=(received + timedelta(days=30)).isoformat(),
    )
    ledger.append(lambda _: body)


def append_release(
    ledger: Ledger,
    policy: Policy,
    release: int,
    requests: tuple[int, ...],
    source: DeployedModel,
    result: DeployedModel,
) -> None:
    """A process, and what it released."""
    before = (requests[0] - 1) * SAMPLES_EACH
    started = ProcessStarted(
        process=release,
        requests=requests,
        source=source,
        forgotten_before=before,
        seed=0,
        references=1,
        policy=policy.digest,
    )
    released = Released(
        release=release,
        process=release,
        requests=requests,
        method=policy.method,
        settings={},
        guarantee="approximate",
        seed=0,
        source=source,
        result=result,
        seconds=60.0,
        retraining_seconds=3600.0,
        audit_seconds=3600.0,
        forgotten=before + len(requests) * SAMPLES_EACH,
        measured=None,
        versions={},
        hardware=HARDWARE,
    )
    ledger.append(lambda _: started)
    ledger.append(lambda _: released)


def seconds_of(words: list[str]) -> float:
    """Wall time of one process, which must succeed."""
    start = time.perf_counter()
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start
    if done.returncode:
        sys.exit(f"{' '.join(words)} failed with status {done.returncode}:\n{done.stdout}{done.stderr}")
    return seconds


def asked(folder: Path, run: int) -> list[str]:
    """What a new request names: samples of its own."""
    wanted = folder.parent / f"list-{run}.txt"
    rows = range(run * SAMPLES_EACH, (run + 1) * SAMPLES_EACH)
    wanted.write_text("\n".join(f"train/{row % 10}/{row:07d}.jpg" for row in rows) + "\n")
    return ["--files", str(wanted), "--ticket", f"new-{run}"]


def measure(folder: Path, runs: int) -> None:
    """Time every command and print the table."""
    verbs = ["-m", "natmu", "requests"]
    ledger = "from pathlib import Path; from natmu.requests.keys import ServiceKey; "
    ledger += f"from natmu.requests.ledger import Ledger; folder = Path({str(folder)!r}); "
    ledger += f"assert not Ledger(folder / {LEDGER!r}, ServiceKey.read(folder / {KEY!r})).problems()"
    print(f"{'command':<28}{'min':>8}{'median':>8}{'max':>8}{'target':>8}")
    for what, words, target in (
        ("natmu requests status", [*verbs, "status", str(folder)], 1),
        ("natmu requests list", [*verbs, "list", str(folder)], 1),
        ("natmu requests add --files", [*verbs, "add", str(folder)], 1),
        ("the ledger verified", ["-c", ledger], 5),
        ("natmu requests verify", [*verbs, "verify", str(folder)], 5),
    ):
        own = [asked(folder, run) if "add" in words else [] for run in range(1 + runs)]
        times = [seconds_of(words + more) for more in own][1:]
        row = f"{min(times):>8.2f}{statistics.median(times):>8.2f}{max(times):>8.2f}{target:>8.1f}"
        print(f"{what:<28}{row}", flush=True)


def main() -> None:
    """Build the service, and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=100_000, help="training samples")
    parser.add_argument("--requests", type=int, default=1000, help=f"requests, of {SAMPLES_EACH} samples each")
    parser.add_argument("--releases", type=int, default=50, help="releases")
    parser.add_argument("--runs", type=int, default=5, help="runs of each command")
    parser.add_argument("--keep", type=Path, help="folder in which the service is built, and stays")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (given.keep or Path(temporary)) / "service"
        start = time.perf_counter()
        write_service(folder, given.samples, given.requests, given.releases)
        size = (folder / LEDGER).stat().st_size / 2**20
        print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, n = {given.runs}")
        print(
            f"{given.samples:,} samples, {given.requests:,} requests, {given.releases} releases; a ledger of "
            f"{size:.1f} MiB, written in {time.perf_counter() - start:.0f} s\n"
        )
        measure(folder, given.runs)


if __name__ == "__main__":
    main()
