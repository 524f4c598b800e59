"""Shadow models: trained on the retain set and half of a pool of forget and unseen samples, then made to forget it.

Shadows come in pairs whose halves of the pool complement each other, so that every sample is in exactly half of them
and more shadows can be added to those that there are. The same shadows serve LiRA before they unlearn, whatever method
is judged, and U-LiRA afterwards.

The unseen samples are test samples, so a method that is run on a shadow holds some, as training data of that shadow or
among ``Problem.aside``. No model that is judged comes of it: of a shadow only the margins on the pool are kept.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch

from natmu.data import ImageData
from natmu.engine.checkpoint import History
from natmu.engine.predict import part_of
from natmu.engine.store import Run, Store, Workplace, digest_of
from natmu.engine.training import train_classifier
from natmu.errors import DataError
from natmu.methods import Problem, method_named
from natmu.progress import task
from natmu.scores.panel import Shadows
from natmu.scores.population import forgotten_and_unseen
from natmu.scores.signals import margin
from natmu.study.jobs import Bench, Original
from natmu.types import ForgetSet, IntArray, Outputs, Predictions, seed_for

Spec = dict[str, Any]


@dataclass(frozen=True)
class ShadowPlan:
    """Which shadow models an audit needs, and what each is trained on.

    Attributes:
        run: The run of the unlearned model under audit.
        answers: Its answers.
        number: How many shadows; an even number.
    """

    run: Run
    answers: Predictions
    number: int

    @cached_property
    def forget(self) -> ForgetSet:
        """The forget set of the run."""
        return self.run.forget()

    @cached_property
    def original(self) -> Spec:
        """Everything that determines the original of the run."""
        spec: Spec = self.run.record.spec["original"]
        return spec

    @cached_property
    def strangers(self) -> IntArray:
        """As many unseen samples as there are forget samples, or all: rows of the test samples to compare with."""
        _, unseen = forgotten_and_unseen(self.answers)
        count = min(len(self.forget), len(unseen))
        rng = np.random.default_rng(seed_for(0, "strangers", self.forget.digest))
        return np.sort(rng.choice(len(unseen), count, replace=False)).astype(np.int64)

    @cached_property
    def member(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Which shadow is trained on which sample of the pool, bool ``(K, P)``."""
        size = len(self.forget) + len(self.strangers)
        rows = []
        for pair in range(self.number // 2):
            order = np.random.default_rng(seed_for(0, "shadow split", self.forget.digest, pair)).permutation(size)
            half = np.zeros(size, bool)
            half[order[: size // 2]] = True
            rows += [half, ~half]
        return np.stack(rows)

    def trained(self, number: int) -> Spec:
        """Everything that determines a shadow."""
        pool = {"forget": self.forget.digest, "strangers": digest_of({"rows": self.strangers.tolist()})}
        return self.original | {"kind": "shadow", "pool": pool, "number": number}

    def unlearned(self, number: int) -> Spec:
        """Everything that determines a shadow after unlearning."""
        spec = self.run.record.spec
        return spec | {"kind": "unlearned shadow", "original": self.trained(number), "seed": spec["seed"] + number}

    def runs(self, store: Store) -> tuple[dict[int, Run], dict[int, Run]]:
        """The shadows in the store by number: trained ones, and those of them that have unlearned."""
        trained, unlearned = (
            {number: run for number in range(self.number) if (run := store.find(digest_of(spec(number)))) is not None}
            for spec in (self.trained, self.unlearned)
        )
        return trained, {number: run for number, run in unlearned.items() if number in trained}

    def found(self, store: Store) -> Shadows | None:
        """The margins of the shadows that are in the store; None if there are none."""
        trained, unlearned = self.runs(store)
        if not trained:
            return None
        before, after = (
            np.array([margin(run.outputs().train) for run in runs.values()]).reshape(len(runs), self.member.shape[1])
            for runs in (trained, unlearned)
        )
        rows = np.searchsorted(list(trained), list(unlearned)).astype(np.int64)
        return Shadows(before, after, self.member[list(trained)], self.strangers, rows)


def train_shadows(plan: ShadowPlan, original: Original, attempt: Callable[[str, Callable[[], object]], None]) -> None:
    """Train the shadows that are missing, and run the method under audit on each.

    Args:
        plan: Which shadows.
        original: The original of the run under audit.
        attempt: Called with what each model is and with what makes it; goes on where that fails.
    """
    shadows = Shadowing(plan, original)
    with task("shadow models", plan.number) as advance:
        for number in range(plan.number):
            attempt("shadow model", partial(shadows.unlearned, number))
            advance()


@dataclass(frozen=True)
class Shadowing:
    """Making the shadows of a plan.

    Attributes:
        plan: Which shadows.
        original: The original of the run under audit.
    """

    plan: ShadowPlan
    original: Original

    @cached_property
    def data(self) -> ImageData:
        """The training data and the unseen samples of the pool after it, on the device.

        Raises:
            DataError: The images are mapped from disk, where they cannot be put together.
        """
        bench = self.original.bench
        train, test = bench.on_device.train, bench.on_device.test
        if not (train.resident and test.resident):
            raise DataError("Shadow models need the data in memory; audit at the level standard, or use less data.")
        rows = self._unseen()[self.plan.strangers]
        extra = test.subset(rows)
        images = torch.cat([train.take(torch.arange(len(train))), extra.take(torch.arange(len(extra)))])
        return ImageData(images, torch.cat([train.labels, extra.labels]), train.class_names)

    @cached_property
    def pool(self) -> torch.Tensor:
        """Positions of the pool in ``data``, int64 ``(P,)``."""
        first = len(self.original.bench.splits.train)
        strangers = torch.arange(first, first + len(self.plan.strangers))
        return torch.cat([torch.from_numpy(self.plan.forget.indices), strangers])

    def trained(self, number: int) -> Run:
        """One shadow, found or trained; its stored answers are those to the pool."""
        bench, spec = self.original.own_bench, self.plan.trained(number)

        def compute(work: Workplace) -> None:
            model = bench.build(seed_for(self.original.seed, "shadow", number))
            history: History = []
            kept = torch.ones(len(self.data), dtype=torch.bool)
            kept[torch.from_numpy(self._aside(number))] = False
            train_classifier(
                model,
                self.data,
                kept.nonzero().squeeze(1),
                bench.training,
                bench.compute,
                seed=seed_for(self.original.seed, "shadow", number),
                label=f"shadow {number + 1}",
                checkpoint=work.checkpoint,
                history=history,
            )
            self._finish(work, model, bench, history)

        return bench.store.obtain(spec, compute, resume=bench.resume)

    def unlearned(self, number: int) -> Run:
        """The same shadow made to forget what it had of the pool."""
        bench, spec = self.original.bench, self.plan.unlearned(number)
        shadow = self.trained(number)

        def compute(work: Workplace) -> None:
            model = bench.build(0)
            model.load_state_dict(shadow.weights())
            indices = np.sort(self.pool[torch.from_numpy(self.plan.member[number])].numpy())
            problem = Problem(
                model=model,
                data=self.data,
                forget=replace(self.plan.forget, indices=indices),
                training=bench.training,
                compute=bench.compute,
                seed=spec["seed"],
                batch_size=spec["batch_size"],
                initial_model=lambda: bench.build(seed_for(self.original.seed, "shadow", number)),
                fresh_model=bench.build,
                holdout=bench.on_device.holdout,
                checkpoint=work.checkpoint,
                aside=self._aside(number),
            )
            unlearned = method_named(spec["method"])(**spec["settings"])(problem)
            self._finish(work, unlearned.model, bench, problem.history)

        return bench.store.obtain(spec, compute, resume=bench.resume)

    def _aside(self, number: int) -> IntArray:
        """Positions of the pool that a shadow never sees."""
        return self.pool[torch.from_numpy(~self.plan.member[number])].numpy()

    def _finish(self, work: Workplace, model: torch.nn.Module, bench: Bench, history: History) -> None:
        """Keep the model's answers to the pool, in its order."""
        pool = self.data.subset(self.pool.numpy())
        answers = part_of(model, pool, bench.compute)
        nothing = answers.take(np.zeros(0, np.int64))
        seconds = sum(row["seconds"] for row in history)
        work.finish(model, Outputs(answers, nothing), bench.compute, seconds=seconds, scores={}, history=history)

    def _unseen(self) -> IntArray:
        """Rows of the test data that attacks compare the forget set with, in the order of the answers."""
        forget, test = self.plan.forget, self.original.outputs.test
        if not forget.class_wise:
            return np.arange(len(test))
        labels = test.labels if test.fine_labels is None or forget.scenario == "class" else test.fine_labels
        return np.flatnonzero(np.isin(labels, forget.classes))
