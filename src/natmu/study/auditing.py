"""Audits of runs: which models are compared, where they come from, and what is written beside the run."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from typing import Any, overload

import numpy as np

from natmu.data import ImageData
from natmu.engine import processes
from natmu.engine.checkpoint import write_atomically
from natmu.engine.store import Run, Store, digest_of
from natmu.errors import DataError, TrainingError, UsageError
from natmu.progress import say, task
from natmu.scores import efficacy_samples, examine, exposed_samples, leak, loss, weight_distance
from natmu.scores.exposure import COLUMNS
from natmu.scores.panel import Level, Measured, Panel
from natmu.scores.population import unseen_part
from natmu.scores.verdict import ENOUGH
from natmu.study.cast import Cast, train_what_is_missing
from natmu.study.exposed_images import store_exposed
from natmu.study.jobs import Original
from natmu.study.relearning import relearned, relearning_spec, relearning_time, shown_rows
from natmu.study.shadows import ShadowPlan, train_shadows
from natmu.types import ForgetSet, Predictions

FOLDER = "audit"
"""Of an audited run, where its audit is."""


@dataclass(frozen=True)
class Audit:
    """An audit of one run.

    Attributes:
        run: The run of the unlearned model.
        store: Where the models are that it is compared with.
        level: How much is asked for.
        number: How many retrained models, and from the level standard on how many models of the other kinds.
        source: Run of the original; found in the store if None.
        seed: Of subsamples, bootstrap draws and random divisions.
    """

    run: Run
    store: Store
    level: Level
    number: int
    source: Run | None = None
    seed: int = 0

    @cached_property
    def cast(self) -> Cast:
        """The models that are needed, but for shadows."""
        return Cast(self.run, self.level, self.number)

    @cached_property
    def forget(self) -> ForgetSet:
        """The forget set."""
        return self.run.forget()

    @cached_property
    def shadows(self) -> ShadowPlan | None:
        """The shadow models that are needed; None below the level full."""
        if self.level != "full" or not len(unseen_part(self.answers(self.run))):
            return None
        return ShadowPlan(self.run, self.answers(self.run), self.number + self.number % 2)

    def answers(self, run: Run) -> Predictions:
        """A run's stored answers, divided as the forget set asks."""
        return run.outputs().split(self.forget)

    def train(self, original: Original) -> None:
        """Train what is missing; what is finished stays, so an audit that was stopped goes on where it was.

        A model that cannot be had is left out, with a line that says why: the scores that need it name what they lack.

        Raises:
            UsageError: The run was made by another number of processes, so that no model made now would be its equal.
        """
        _require_same_processes(self.run)
        attempt = _Attempts()
        attempt("models side by side", lambda: train_what_is_missing(self.cast, original))
        roles = list(self.cast.roles())
        with task(f"models of the audit, level {self.level}", len(roles)) as advance:
            for role in roles:
                attempt(f"{role.part} model", partial(role.make, original))
                advance()
        if self.level != "quick":
            asked = [self.run, *self.found("retrained")[:ENOUGH]]
            with task("relearning", len(asked)) as advance:
                for run in asked:
                    attempt(f"relearning of {run.path.name}", partial(relearned, original, run, self.forget))
                    advance()
        if self.shadows is not None:
            train_shadows(self.shadows, original, attempt)

    def found(self, part: str) -> list[Run]:
        """The runs in the store that play a part."""
        wanted = (digest_of(role.spec) for role in self.cast.roles() if role.part == part)
        return [run for run in map(self.store.find, wanted) if run is not None]

    @cached_property
    def original(self) -> Run | None:
        """The run of the original."""
        return self.source or self.store.find(digest_of(self.cast.original))

    @cached_property
    def runs(self) -> dict[str, list[Run]]:
        """All runs that are compared, by the part they play.

        Raises:
            DataError: One of them was made with other data.
        """
        parts = ("retrained", "original", "unlearned", "again", "initial")
        found = {part: self.found(part) for part in parts}
        _require_same_data(self.run, [run for runs in found.values() for run in runs])
        return found

    def panel(self) -> Panel:
        """The models' answers, as far as they are there."""
        runs = self.runs
        original = None if self.original is None else self.answers(self.original)
        initial = runs["initial"]
        return Panel(
            model=self.answers(self.run),
            retrained=_Answers(self, runs["retrained"]),
            original=original,
            initial_forget=self.answers(initial[0]).forget if initial else None,
            unlearned=_Answers(self, runs["unlearned"]),
            originals=_Answers(self, [*([] if self.original is None else [self.original]), *runs["original"]]),
            again=_Answers(self, runs["again"]),
            shadows=None if self.shadows is None else self.shadows.found(self.store),
            measured={} if self.level == "quick" else {"relearn_time": self._relearning(), **self._weights()},
        )

    def result(self) -> dict[str, Any]:
        """Everything that came of it, as plain values, and the table of samples under ``samples``."""
        panel = self.panel()
        found = examine(panel, self.level, self.seed)
        difficulty = None if self.original is None else self.original.confidence()
        forgotten = np.zeros(len(panel.model.retain) + len(panel.model.forget), bool)
        forgotten[self.forget.indices] = True
        samples = exposed_samples(
            panel, self.forget.indices, np.flatnonzero(~forgotten), None if difficulty is None else -difficulty
        )
        return {
            "run": self.run.record.digest,
            "level": self.level,
            "method": self.run.record.spec["method"],
            "forget": self.run.record.spec["forget"],
            "verdict": found.sentence,
            "scores": {
                name: {
                    "value": value,
                    "retrained": found.retrained.get(name),
                    "original": found.original.get(name),
                    "verdict": asdict(found.verdicts[name]) if name in found.verdicts else None,
                }
                | ({"leak": leak(value)} if "auc" in name.split("_") else {})
                for name, value in found.scores.items()
            },
            "missing": found.missing,
            "mia_efficacy_samples": efficacy_samples(panel.model),
            "seed": self.seed,
            "models": self._models(),
            "samples": samples,
        }

    def _models(self) -> dict[str, Any]:
        """Digests of all runs that were compared, so that all can be computed again from files alone."""
        found: dict[str, Any] = {part: [run.record.digest for run in runs] for part, runs in self.runs.items()}
        if self.shadows is not None:
            trained, unlearned = self.shadows.runs(self.store)
            found["shadows"] = [run.record.digest for run in trained.values()]
            found["unlearned shadows"] = [run.record.digest for run in unlearned.values()]
            found["strangers"] = self.shadows.strangers.tolist()
            found["split"] = [np.flatnonzero(self.shadows.member[number]).tolist() for number in trained]
        return found

    def _relearning(self) -> Measured:
        """Steps of relearning of the model and of retrained ones."""
        if self.original is None:
            return Measured(None, reason="relearn_time needs the original, to know when the loss is back.")
        rows = shown_rows(self.forget)
        original_loss = float(loss(self.answers(self.original).forget.take(rows)).mean())

        def steps(run: Run) -> int | None:
            curve = self.store.find(digest_of(relearning_spec(run, self.forget)))
            return None if curve is None else relearning_time(curve, original_loss)

        value = steps(self.run)
        if value is None:
            return Measured(None, reason="relearn_time was not measured; audit without --offline.")
        retrained = [steps(run) for run in self.runs["retrained"][:ENOUGH]]
        return Measured(value, [float(one) for one in retrained if one is not None], 0.0)

    def _weights(self) -> dict[str, Measured]:
        """Distance of the weights from the first retrained model, which started from the original's initial ones."""
        retrained = self.runs["retrained"][:ENOUGH]
        if not retrained:
            return {}
        first = _arrays(retrained[0])

        def distance(run: Run) -> float:
            return weight_distance(_arrays(run), first).total

        original = None if self.original is None else distance(self.original)
        return {"weight_distance": Measured(distance(self.run), [distance(run) for run in retrained[1:]], original)}


def write_audit(audit: Audit, data: ImageData | None = None) -> dict[str, Any]:
    """Compute an audit and write ``audit/samples.csv`` and then ``audit/audit.json`` into the run's folder.

    Args:
        audit: The audit.
        data: The training data if it is at hand; the images of the most exposed samples go to ``audit/exposed.npz``.

    Returns:
        What is in ``audit.json``.
    """
    result = audit.result()
    samples = result.pop("samples")
    text = json.dumps(result, indent=1, allow_nan=False)
    folder = audit.run.path / FOLDER
    folder.mkdir(exist_ok=True)
    if data is not None:
        store_exposed(samples, data, folder)
    write_atomically(folder / "samples.csv", _csv(samples).encode())
    write_atomically(folder / "audit.json", (text + "\n").encode())
    found: dict[str, Any] = json.loads(text)
    return found


@dataclass(frozen=True)
class _Answers(Sequence[Predictions]):
    """The answers of several runs, each read when it is asked for: all of them may not fit in memory."""

    audit: Audit
    runs: Sequence[Run]

    def __len__(self) -> int:
        return len(self.runs)

    @overload
    def __getitem__(self, place: int) -> Predictions: ...
    @overload
    def __getitem__(self, place: slice) -> list[Predictions]: ...
    def __getitem__(self, place: int | slice) -> Predictions | list[Predictions]:
        """One run's answers, or those of several."""
        chosen = self.runs[place]
        return self.audit.answers(chosen) if isinstance(chosen, Run) else [self.audit.answers(run) for run in chosen]


@dataclass
class _Attempts:
    """Makes models one after another; one that cannot be had does not stop the others.

    Attributes:
        said: The reasons so far; each is said once.
    """

    said: set[str] = field(default_factory=set)

    def __call__(self, what: str, make: Callable[[], object]) -> None:
        """Make one, or say why there is none."""
        try:
            make()
        except (TrainingError, UsageError) as error:
            reason = f"{what}: {error}"
            if reason not in self.said:
                say(reason)
            self.said.add(reason)


def _csv(samples: Sequence[dict[str, Any]]) -> str:
    """The table of samples as comma-separated values; numbers with six digits."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in samples:
        writer.writerow({name: f"{value:.6g}" if isinstance(value, float) else value for name, value in row.items()})
    return text.getvalue()


def _arrays(run: Run) -> dict[str, np.ndarray[Any, Any]]:
    """A run's weights as arrays."""
    return {name: value.float().numpy() for name, value in run.weights().items()}


def _require_same_processes(run: Run) -> None:
    """Refuse to train for a run that was made by another number of processes."""
    count = run.record.spec.get("processes", 1)
    if count != processes.count():
        raise UsageError(
            f"{run.path} was made by {count} process{'' if count == 1 else 'es'} and this is {processes.count()}; "
            f"retrained models must be made alike, so start {count}, or audit with --offline."
        )


def _require_same_data(run: Run, others: Sequence[Run]) -> None:
    """Refuse models of other data."""
    wanted = _data_digests(run)
    for other in others:
        if _data_digests(other) != wanted:
            raise DataError(f"{other.path} was made with other data than {run.path}; delete it and audit again.")


def _data_digests(run: Run) -> dict[str, str]:
    """Digests of the data that a run was made with."""
    spec = run.record.spec
    digests: dict[str, str] = spec.get("original", spec)["data"]["digests"]
    return digests
