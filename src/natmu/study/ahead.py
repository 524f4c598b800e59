"""Originals and retrained references that are trained together, ahead of the jobs that then find them in the store.

A model trained beside others takes longer than one that has the machine to itself, so its seconds say nothing about
the cost of retraining. The first reference of each forget set is therefore never trained here: whoever needs it trains
it alone, as the methods run that it is compared with, and the table takes the cost of retraining from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from natmu.engine.store import Run, digest_of
from natmu.engine.together import Arguments, Work, processes_for, run_together
from natmu.errors import SharedMemoryError, TrainingError, UsageError
from natmu.methods import Retrain
from natmu.progress import say
from natmu.study.jobs import Bench, Original, original_spec, train_original, unlearn_from, unlearned_spec
from natmu.types import ForgetSet

Model = TypeVar("Model")

Reference = tuple[Original, ForgetSet, Retrain, int]
"""What determines a retrained model: original, forget set, settings, seed."""


def train_ahead(bench: Bench, seeds: Sequence[int]) -> None:
    """Train the missing ones of several originals, where that is faster together.

    Args:
        bench: What they are made with.
        seeds: Their training seeds.
    """
    processes = _processes(bench, len(seeds))
    if processes > 1:
        chosen = _in_company(seeds, processes)
        missing = [(seed,) for seed in chosen if _is_missing(bench, original_spec(bench, seed))]
        _run_together(partial(train_original, bench), missing, processes, "originals")


def retrain_ahead(bench: Bench, references: Iterable[Reference], count: int, alone: int) -> None:
    """Train the missing ones of several retrained references, where that is faster together.

    One that cannot be trained is left out without a word: the job that asks for it finds the same, and says it.

    Args:
        bench: What they are made with.
        references: All references; looked at only where several together are faster.
        count: How many they are.
        alone: How many of them, from the first on, are left to be trained alone.
    """
    processes = _processes(bench, count - alone)
    if processes > 1:
        known = {digest_of(_spec(reference)): reference for reference in references}
        chosen = _in_company(list(known.values())[alone:], processes)
        missing = [
            (original.run, original.seed, forget, method, seed)
            for original, forget, method, seed in chosen
            if _is_missing(bench, _spec((original, forget, method, seed)))
        ]
        _run_together(partial(_retrain, bench), missing, processes, "references")


def _in_company(models: Sequence[Model], processes: int) -> Sequence[Model]:
    """The models without a last one that no other would be trained beside: alone it may as well have all threads."""
    return models[: len(models) - (len(models) % processes == 1)]


def _run_together(function: Work, arguments: Sequence[Arguments], processes: int, label: str) -> None:
    """Train models together, or leave them to be trained one after another where memory cannot be shared."""
    try:
        run_together(function, arguments, processes, label)
    except SharedMemoryError as error:
        say(f"{error} The {label} are trained one after another.")


def _retrain(bench: Bench, run: Run, original_seed: int, forget: ForgetSet, method: Retrain, seed: int) -> None:
    """Train one reference, in a worker."""
    with suppress(TrainingError, UsageError):
        unlearn_from(Original(bench, run, original_seed), forget, method, seed=seed)


def _spec(reference: Reference) -> dict[str, Any]:
    """Everything that determines a reference."""
    original, forget, method, seed = reference
    return unlearned_spec(original, forget, method, seed, original.bench.training.batch_size)


def _is_missing(bench: Bench, spec: dict[str, Any]) -> bool:
    """Whether there is no complete run of a spec."""
    return bench.store.find(digest_of(spec)) is None


def _processes(bench: Bench, count: int) -> int:
    """How many of so many models are trained at the same time."""
    train, training = bench.splits.train, bench.training
    steps = training.epochs * len(train) // training.batch_size
    return processes_for(bench.build(0), train.image_shape, training.batch_size, steps, bench.compute, count=count)
