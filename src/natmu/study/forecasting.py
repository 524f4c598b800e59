"""What a recipe would do, what of it is in the store, and about how long the rest takes; nothing is written."""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from natmu.engine.compute import hardware
from natmu.engine.store import Run
from natmu.engine.training import train_classifier
from natmu.errors import RunError
from natmu.methods import Retrain
from natmu.records.run import History
from natmu.study.bench import bench_of, unserved_by
from natmu.study.executors import threads
from natmu.study.graph import STARTS, AuditJob, AuditModelJob, Job, TrainJob, UnlearnJob, found
from natmu.study.jobs import Bench, original_spec
from natmu.study.plan import plan_of
from natmu.study.recipe import Recipe

STEPS = 4
"""Training steps whose time stands for that of all others."""


@dataclass(frozen=True)
class Expected:
    """A job that a study would do.

    Attributes:
        job: The job.
        in_store: Whether its run is there.
        seconds: About how long it takes, if it is not there; None for an audit, which is computed from stored answers.
        basis: ``records`` of runs like it on this hardware, or ``steps`` of training that were timed.
    """

    job: Job
    in_store: bool
    seconds: float | None = None
    basis: str | None = None

    def plain(self) -> dict[str, Any]:
        """Plain values."""
        needs = [need.name for need in (*self.job.needs, *self.job.after)]
        return {"job": self.job.name, "after": needs, "in_store": self.in_store, "seconds": self.seconds} | (
            {} if self.basis is None else {"basis": self.basis}
        )


@dataclass(frozen=True)
class Forecast:
    """All jobs of a study.

    Attributes:
        name: Of the study.
        jobs: Each after those that it needs.
        unserved: By forget spec and label, why a method cannot serve that forget set.
    """

    name: str
    jobs: tuple[Expected, ...]
    unserved: dict[tuple[str, str], str]

    @property
    def in_store(self) -> int:
        """How many jobs are done."""
        return sum(one.in_store for one in self.jobs)

    @property
    def seconds(self) -> float:
        """About how long the others take, one after another."""
        return sum(one.seconds or 0.0 for one in self.jobs)

    def plain(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "name": self.name,
            "jobs": [one.plain() for one in self.jobs],
            "not_run": [
                {"scenario": text, "method": label, "reason": reason} for (text, label), reason in self.unserved.items()
            ],
            "in_store": self.in_store,
            "seconds": round(self.seconds, 1),
        }


def forecast(recipe: Recipe, *, data_dir: Path, out: Path, device: str = "auto") -> Forecast:
    """Say what ``run_recipe`` would do with the same arguments, without doing it.

    Times are rough. They are those of stored runs of the same method and settings on the same hardware; where there are
    none, a few training steps are timed, and an epoch of any method counts as one of training.

    Args:
        recipe: What to do.
        data_dir: Where the data lies.
        out: Folder of all runs.
        device: As ``run_recipe``.

    Returns:
        Every job, whether its run is in the store, and else about how many seconds it takes.

    Raises:
        UsageError: As ``run_recipe``.
    """
    bench = bench_of(recipe, data_dir, out, device)
    unserved = unserved_by(recipe, bench)
    times = _Times(bench)
    jobs = []
    with threads(recipe.executor.cpus):
        for job in plan_of(recipe, unserved).jobs:
            in_store = not isinstance(job, AuditJob) and found(job, bench) is not None
            jobs.append(Expected(job, True) if in_store else Expected(job, False, *times.of(job)))
    return Forecast(recipe.name, tuple(jobs), unserved)


@dataclass(frozen=True)
class _Times:
    """How long jobs take."""

    bench: Bench

    @cached_property
    def known(self) -> dict[str, float]:
        """Mean seconds of the runs in the store that were made on this hardware, by what tells them from others."""
        here = hardware(self.bench.compute)
        seconds: defaultdict[str, list[float]] = defaultdict(list)
        for path in self.bench.store.root.glob("*/record.json"):
            with suppress(RunError):  # a damaged run says nothing, and is in the way of none of these jobs
                record = Run(path.parent).record
                if record.hardware == here and record.spec["kind"] in ("train", "unlearn"):
                    seconds[_key(record.spec)].append(record.seconds)
        return {key: statistics.mean(values) for key, values in seconds.items()}

    @cached_property
    def epoch(self) -> float:
        """Seconds of an epoch of training, from a few steps."""
        bench, settings = self.bench, self.bench.training
        train = bench.on_device.train
        count = min(len(train), STEPS * settings.batch_size)
        history: History = []
        few = settings.model_copy(update={"epochs": 2, "warmup_epochs": 0})
        train_classifier(bench.build(0), train, torch.arange(count), few, bench.compute, seed=0, history=history)
        return history[-1]["seconds"] * len(train) / count

    def of(self, job: Job) -> tuple[float | None, str | None]:
        """Seconds of a job, and where they come from."""
        if isinstance(job, AuditModelJob):
            if job.part == "initial":
                return 0.0, None
            unlearned = job.part in STARTS
            return self.of(job.subject.replicates[0] if unlearned else job.subject.replicates[0].original)
        if isinstance(job, TrainJob):
            spec, epochs = original_spec(self.bench, job.seed), self.bench.training.epochs
        elif isinstance(job, UnlearnJob):
            method, original = job.made(), original_spec(self.bench, job.original.seed)
            size = job.batch_size or self.bench.training.batch_size
            spec = {"original": original, "method": job.method, "settings": method.config.model_dump()}
            spec |= {"batch_size": size}
            epochs = self.bench.training.epochs if job.method == Retrain.name else getattr(method.config, "epochs", 1)
        else:
            return None, None
        key = _key(spec)
        return (self.known[key], "records") if key in self.known else (epochs * self.epoch, "steps")


def _key(spec: dict[str, Any]) -> str:
    """What decides how long a run takes: everything but seeds and the choice of forget samples."""
    original = spec.get("original", spec)
    kept = {name: original[name] for name in ("data", "model", "precision", "training") if name in original}
    own = {name: spec[name] for name in ("method", "settings", "batch_size") if name in spec}
    return json.dumps([kept, own], sort_keys=True)
