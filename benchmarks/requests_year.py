"""A year of deletion requests under four policies: what they cost, and what the deployed model becomes.

    python benchmarks/requests_year.py --data data --out year               # all, half an hour on 2 cores
    python benchmarks/requests_year.py --data data --out year --settings    # the trial of settings alone, 2 minutes
    python benchmarks/requests_year_figures.py year benchmarks/results      # pictures and tables

The data are 4,000 training and 5,000 test images of CIFAR-10 at 16 x 16 pixels (means of 2 x 2), a fifth of the test
images as holdout. A small ResNet learns the training images by heart in 8 epochs. Each of the 53 Mondays of 2024 brings
one request for 20 samples, in an order that ``--seed`` draws:

- ``natmu`` and ``finetune`` process it the same day, without a fallback;
- ``salun`` does so too, and retrains where its model is refused;
- ``monthly`` lets requests wait, and retrains every fourth Monday.

A policy whose requests were refused for four weeks retrains then, because they are due. Every fourth Monday, beginning
with the first, candidates are compared with four models that were retrained without everything forgotten so far. These
depend on the forgotten samples alone, so the first policy to need them trains them, and the others get links.

Settings are chosen beforehand by one rule: of some learning rates, the largest after which the model has lost at most 1
point of retain and 2 points of holdout accuracy, on one batch that is none of the year's; how well that batch is
forgotten is not looked at. The trial is kept in ``OUT/settings.json``. Everything is kept in ``OUT``, so that the same
command goes on where it was stopped. Numbers of all weeks are read from the ledgers: ``OUT/weeks.csv`` and
``OUT/earlier.csv``. Each policy runs once, n = 1 year per order of requests; the spread is that of retrained models.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

import natmu
from natmu.data import load
from natmu.engine.compute import Compute, hardware, versions
from natmu.engine.memory import keep_freed_memory
from natmu.engine.store import Run, Store
from natmu.lineage import Workspace, obtain
from natmu.methods import Retrain
from natmu.opening import Source
from natmu.records.derived import forget_of
from natmu.records.files import csv_text, write_atomically
from natmu.records.ledger import Body, Entry, NotMade, Rejected, Requested, Retrained, Tried
from natmu.records.lineage import Trained
from natmu.records.run import RECORD
from natmu.records.settings import DataSettings, TrainSettings
from natmu.requests import Service
from natmu.requests.advice import retraining_advice
from natmu.requests.state import State, fold
from natmu.scores.utility import accuracy
from natmu.types import IntArray

WEEKS, SAMPLES, MONTH = 53, 20, 4
TRAIN, TEST, SIDE = 4000, 5000, 16
FIRST = datetime.date(2024, 1, 1)
TRAINING = TrainSettings(
    epochs=8,
    batch_size=128,
    optimizer="adam",
    lr=2e-3,
    weight_decay=0.0,
    schedule="cosine",
    warmup_epochs=1,
    augment=False,
)
RATES: Mapping[str, Sequence[float]] = {
    "natmu": (1e-4, 3e-4, 1e-3, 3e-3),
    "finetune": (1e-3, 3e-3, 1e-2, 3e-2),
    "salun": (3e-4, 1e-3, 3e-3, 1e-2),
}
FIXED: Mapping[str, Mapping[str, Any]] = {
    "natmu": {"epochs": 3, "augment_retain": False},
    "finetune": {"epochs": 3, "schedule": "cosine"},
    "salun": {"epochs": 3},
}
RETAIN_LOSS, HOLDOUT_LOSS = 1.0, 2.0
ACCURACIES = ("retain_acc", "holdout_acc", "test_acc", "forget_acc")


def main() -> None:
    """Go on with the year until it is over."""
    keep_freed_memory()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder that holds CIFAR-10")
    parser.add_argument("--out", type=Path, default=Path("year"))
    parser.add_argument("--seed", type=int, default=0, help="of the order of requests")
    parser.add_argument("--jobs", type=int, default=2, help="processes, each with one thread")
    parser.add_argument("--weeks", type=int, default=WEEKS, help="stop after so many")
    parser.add_argument("--settings", action="store_true", help="choose settings, and stop")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    print(json.dumps(hardware(Compute.choose("cpu", "fp32")).plain() | versions() | {"seed": asked.seed}))
    prepare(asked.data, asked.out, asked.seed)
    original = make_original(asked.out)
    rates = chosen_rates(asked.out, original)
    if not asked.settings:
        begin(asked.out, original, policies(rates))
        run(asked.out, list(policies(rates)), asked.weeks, asked.jobs)


def prepare(data_dir: Path, out: Path, seed: int) -> None:
    """The images, and the requests of all weeks with one batch more for the trial of settings."""
    if not (out / "images.npz").exists():
        splits = load("cifar10", data_dir, train_size=TRAIN)
        parts = {"train": splits.train, "test": splits.test.subset(np.arange(TEST))}
        arrays: dict[str, Any] = {}
        for part, data in parts.items():
            pixels = np.asarray(data.images).reshape(len(data), 3, SIDE, 2, SIDE, 2).mean(axis=(3, 5))
            arrays[f"x_{part}"] = pixels.round().astype(np.uint8).transpose(0, 2, 3, 1)
            arrays[f"y_{part}"] = np.asarray(data.labels)
        out.mkdir(parents=True, exist_ok=True)
        np.savez(out / ".images.npz", **arrays)
        (out / ".images.npz").replace(out / "images.npz")
    order = np.random.default_rng(seed).permutation(TRAIN)[: (WEEKS + 1) * SAMPLES]
    for week, rows in enumerate(np.split(order, WEEKS + 1), 1):
        write_atomically(out / "requests" / f"{week:02}.txt", "".join(f"{row}\n" for row in np.sort(rows)).encode())


def make_original(out: Path) -> Run:
    """The deployed model that the year begins with."""
    settings = DataSettings(source=str((out / "images.npz").resolve()), holdout=True)
    compute = Compute.choose("cpu", "fp32")
    workspace = Workspace.open(settings, out, "small_resnet", compute, Store(out / "original"))
    return obtain(workspace.original(TRAINING, 0), workspace)


def chosen_rates(out: Path, original: Run) -> dict[str, float]:
    """The learning rate of each method, by the rule above; every trial is kept and printed."""
    path = out / "settings.json"
    if not path.exists():
        write_atomically(path, (json.dumps(list(_trials(out, original)), indent=1) + "\n").encode())
    trials = json.loads(path.read_text())
    before = trials[0]
    for trial in trials:
        print(json.dumps(trial))
    kept = [
        trial
        for trial in trials[1:]
        if trial["retain"] >= before["retain"] - RETAIN_LOSS and trial["holdout"] >= before["holdout"] - HOLDOUT_LOSS
    ]
    return {method: max(trial["lr"] for trial in kept if trial["method"] == method) for method in RATES}


def _trials(out: Path, original: Run) -> Iterator[dict[str, Any]]:
    """Retain and holdout accuracy of the original, and after each method at each rate, on the batch that is left."""
    splits = load(str(out / "images.npz"), out, holdout=True)
    workspace = Workspace.open(
        DataSettings(source=str((out / "images.npz").resolve()), holdout=True),
        out,
        "small_resnet",
        Compute.choose("cpu", "fp32"),
        Store(out / "original"),
    )
    assert splits.holdout is not None
    model, forget = workspace.load(original), rows_of(out, WEEKS + 1)
    outputs = original.outputs()
    assert outputs.holdout is not None
    kept = np.setdiff1d(np.arange(TRAIN), forget)
    yield {"retain": accuracy(outputs.train.take(kept)), "holdout": accuracy(outputs.holdout)}
    for method, rates in RATES.items():
        for lr in rates:
            result = natmu.unlearn(
                model,
                splits.train,
                forget,
                method,
                training=TRAINING,
                holdout=splits.holdout,
                device="cpu",
                precision="fp32",
                progress=False,
                lr=lr,
                **FIXED[method],
            )
            summary = result.summary["result"]
            measured = {"retain": summary["retain_acc"], "holdout": summary["holdout_acc"]}
            yield {"method": method, "lr": lr, **measured, "seconds": result.seconds}


def policies(rates: Mapping[str, float]) -> dict[str, dict[str, Any]]:
    """The four policies; what is not said is the default."""
    audit = {"level": "quick", "references": 4, "every": MONTH}
    told: dict[str, dict[str, Any]] = {
        method: {"method": method, "settings": {**FIXED[method], "lr": lr}, "audit": audit}
        for method, lr in rates.items()
    }
    told["salun"]["fallbacks"] = [{"method": Retrain.name}]
    return told | {"monthly": {"method": Retrain.name, "audit": {**audit, "every": 1}}}


def begin(out: Path, original: Run, told: Mapping[str, Mapping[str, Any]]) -> None:
    """A service for each policy."""
    for name, policy in told.items():
        path = out / "policies" / f"{name}.yaml"
        write_atomically(path, json.dumps(policy, indent=1).encode())  # JSON is YAML
        if not (out / name).exists():
            Service.create(out / name, Source(original.path), path, data_dir=out, device="cpu", precision="fp32")


def run(out: Path, names: Sequence[str], weeks: int, jobs: int) -> None:
    """All weeks of all policies, several at once; what is furthest behind comes first."""
    left = {name: next_week(Service.open(out / name), name) for name in names}
    with ProcessPoolExecutor(jobs, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        working: dict[Future[None], str] = {}
        while working or min(left.values()) <= weeks:
            for name in sorted(left, key=lambda name: left[name]):
                busy = [left[other] for other in working.values()]
                waits = is_measured(left[name]) and left[name] in busy  # for the models that another one trains
                if name not in working.values() and left[name] <= weeks and len(working) < jobs and not waits:
                    working[pool.submit(do_week, out, name, names, left[name])] = name
            done, _ = wait(working, return_when=FIRST_COMPLETED)
            for future in done:
                name = working.pop(future)
                future.result()
                left[name] += 1
                write_tables(out, names)
                print(f"week {left[name] - 1} of {name}", flush=True)


def is_measured(week: int) -> bool:
    """Whether candidates of a week are compared with retrained models."""
    return week % MONTH == 1


def do_week(out: Path, name: str, names: Sequence[str], week: int) -> None:
    """Record the request of a week and do what the policy says, unless it is done already."""
    os.environ["OMP_NUM_THREADS"] = "1"
    service, received = Service.open(out / name), FIRST + datetime.timedelta(weeks=week - 1)
    service.add(f"indices:{out / 'requests' / f'{week:02}.txt'}", f"week {week}", received=received.isoformat())
    if is_measured(week):
        for other in names:
            link_retrained(out / other / "models", out / name / "models")
    while (verb := what_to_do(service.files.ledger.entries(), name, week)) is not None:
        if verb == "process":
            service.process(device="cpu")
        else:
            service.retrain(device="cpu")


def what_to_do(entries: Sequence[Entry], name: str, week: int) -> str | None:
    """The verb that comes next in a week; None when the week is done."""
    state = fold(entries)
    outcomes = outcomes_of(entries, week)
    if name == "monthly" and not is_measured(week) and state.unfinished is None:
        return None
    if state.unfinished is not None or not outcomes:
        return "process"
    overdue = bool(state.pending) and min(state.pending) <= week - MONTH
    return "retrain" if overdue and not isinstance(outcomes[-1], Retrained) else None


def outcomes_of(entries: Sequence[Entry], week: int) -> list[Tried | NotMade]:
    """All that was tried in a week."""
    return [body for body in bodies_of(entries, week) if isinstance(body, Tried | NotMade)]


def bodies_of(entries: Sequence[Entry], week: int) -> list[Body]:
    """What the ledger says of a week: from its request, which has its number, to that of the next."""
    numbers = np.cumsum([isinstance(entry.body, Requested) for entry in entries])
    return [entry.body for entry, number in zip(entries, numbers, strict=True) if number == week]


def until(entries: Sequence[Entry], week: int) -> list[Entry]:
    """The ledger as it was at the end of a week."""
    numbers = np.cumsum([isinstance(entry.body, Requested) for entry in entries])
    return [entry for entry, number in zip(entries, numbers, strict=True) if number <= week]


def next_week(service: Service, name: str) -> int:
    """The first week that is not done."""
    entries = service.files.ledger.entries()
    last = max(len(fold(entries).requests), 1)
    return last if not bodies_of(entries, last) or what_to_do(entries, name, last) is not None else last + 1


def link_retrained(source: Path, target: Path) -> None:
    """Give one store the retrained models of another, as links to the same files."""
    for record in source.glob(f"*/{RECORD}"):
        run, there = Run(record.parent), target / record.parent.name
        lineage = run.record.lineage
        if there.exists() or not isinstance(lineage, Trained) or forget_of(lineage) is None:
            continue
        partial = target / f".{there.name}.linked"
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(run.path, partial, copy_function=os.link)
        partial.replace(there)


def rows_of(out: Path, week: int) -> IntArray:
    """Positions of a week's samples."""
    return np.loadtxt(out / "requests" / f"{week:02}.txt", np.int64)


def write_tables(out: Path, names: Sequence[str]) -> None:
    """A row per policy and week, and one per earlier request that was measured again."""
    weeks, earlier = [], []
    for name in names:
        entries = Service.open(out / name).files.ledger.entries()
        for week in range(1, len(fold(entries).requests) + 1):
            outcomes = outcomes_of(entries, week)
            weeks.append({"policy": name, "week": week, **week_row(outcomes, fold(until(entries, week)))})
            last = outcomes[-1] if outcomes else None
            again = last.remeasured if isinstance(last, Tried) else ()
            earlier += [{"policy": name, "week": week, **one.plain()} for one in again]
    for file, rows in (("weeks.csv", weeks), ("earlier.csv", earlier)):
        columns = list(dict.fromkeys(column for row in rows for column in row))
        write_atomically(out / file, csv_text(rows, columns).encode())


def week_row(outcomes: Sequence[Tried | NotMade], state: State) -> dict[str, Any]:
    """What a week cost, what came out, and what the service advised after it."""
    advice, tried = retraining_advice(state), [one for one in outcomes if isinstance(one, Tried)]
    row: dict[str, Any] = {
        "outcome": outcomes[-1].plain()["kind"] if outcomes else "wait",
        "method": outcomes[-1].method if outcomes else "",
        "pending": len(state.pending),
        "seconds": round(sum(one.seconds for one in tried), 2),
        "audit_seconds": round(sum(one.audit_seconds for one in tried), 2),
        "retraining_seconds": tried[-1].retraining_seconds if tried else "",
        "refused": " ".join(f"{one.method}:{reason}" for one in outcomes for reason in reasons(one)),
        "advised": advice.due,
        "advice": advice.reasons[0],
    }
    last = outcomes[-1] if outcomes else None
    if isinstance(last, Tried) and last.measured is not None:
        row |= {"forgotten": last.forgotten, "distinguishable": last.measured.forgotten.outcome}
        for part, measured in (("", last.measured), ("earlier_", last.earlier)):
            for score in ACCURACIES:
                one = None if measured is None else measured.scores.get(score)
                if one is not None and (part == "" or score == "forget_acc"):
                    row |= {f"{part}{score}": one.value, f"{part}{score}_original": one.original}
                    row |= {f"{part}{score}_retrained": " ".join(f"{value:.4g}" for value in one.retrained)}
    return row


def reasons(one: Tried | NotMade) -> list[str]:
    """Names of the guardrails that refused a candidate."""
    if isinstance(one, NotMade):
        return ["not made"]
    return [result.name for result in one.guardrails if not result.passed] if isinstance(one, Rejected) else []


if __name__ == "__main__":
    main()
