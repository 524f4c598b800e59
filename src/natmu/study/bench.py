"""Running a recipe: originals, retrained references, unlearned models, one table."""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from natmu.audit import SCORE_NAMES, Level, avg_gap, holdout_as_test, mean_scores, scores
from natmu.data import resolve_forget
from natmu.engine import processes
from natmu.engine.checkpoint import write_atomically
from natmu.engine.compute import Compute, hardware, versions
from natmu.engine.progress import say, showing, task
from natmu.engine.store import Run, Store
from natmu.errors import NatmuError, TrainingError, UsageError
from natmu.methods import Method, NatMU, Retrain, method_named
from natmu.study.ahead import Reference, retrain_ahead, train_ahead
from natmu.study.auditing import Audit, write_audit
from natmu.study.cast import NUMBERS
from natmu.study.examples import store_hybrids
from natmu.study.jobs import Bench, Original, load_data, train_original, unlearn_from
from natmu.study.recipe import Recipe
from natmu.study.refusal import refuse
from natmu.types import ForgetSet, Outputs

Scores = dict[str, float]
ORIGINAL, RETRAINED = "original", "retrained"


@dataclass
class Cell:
    """All replicates of one method on one forget spec.

    Attributes:
        runs: Folder of each replicate's run; one that serves several replicates, because it shares their seeds and
            their forget set, counts once.
        scores: One per replicate.
        seconds: Wall time of each replicate's run.
        hardware: What each replicate's run was made on, with how many threads.
        forgets: Digest of each replicate's forget set, which decides the references it is compared with.
        failed: Why a replicate could not be computed.
    """

    runs: list[Path] = field(default_factory=list)
    scores: list[Scores] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    hardware: list[dict[str, str]] = field(default_factory=list)
    forgets: list[str] = field(default_factory=list)
    failed: str | None = None

    def add(self, run: Run, found: Scores, forget: ForgetSet) -> None:
        """Add one replicate, unless its run is already there with the same forget set."""
        if (run.path, forget.digest) not in zip(self.runs, self.forgets, strict=True):
            self.runs.append(run.path)
            self.scores.append(found)
            self.seconds.append(run.record.seconds)
            self.hardware.append(run.record.hardware)
            self.forgets.append(forget.digest)


Cells = dict[tuple[str, str], Cell]


def run_recipe(recipe: Recipe, *, data_dir: Path, out: Path, device: str = "auto", progress: bool = True) -> Path:
    """Run what is missing of a study and write its table.

    Args:
        recipe: What to do.
        data_dir: Where the data lies.
        out: Folder of all runs; the study's own folder is made in it.
        device: ``auto``, ``cpu`` or ``cuda``.
        progress: Whether to show progress on standard error.

    Returns:
        The study's folder, which holds ``table.json``, ``audit.json`` where the recipe asks for an audit, and, where
        NatMU takes part, ``hybrids.npz``.

    Raises:
        NatmuError: The data, the model or an original cannot be had.
    """
    compute = Compute.choose(device, recipe.precision, sync_batch_norm=recipe.sync_batch_norm)
    with showing(progress):
        bench = Bench(recipe.data, load_data(recipe.data, data_dir), recipe.model, recipe.training, compute, Store(out))
        cells = _run_all(recipe, bench)
        folder = out / recipe.name
        folder.mkdir(parents=True, exist_ok=True)
        labels = [label for entry in recipe.methods for label, _, _ in entry.expanded()]
        table = {
            "name": recipe.name,
            "score_on": recipe.score_on,
            "recipe": recipe.model_dump(mode="json"),
            "hardware": hardware(compute),
            "versions": versions(),
            "rows": table_rows(recipe.forget, [ORIGINAL, RETRAINED, *labels], cells),
        }
        _store_examples(recipe, bench, folder)
        write_atomically(folder / "table.json", (json.dumps(table, indent=1, allow_nan=False) + "\n").encode())
        if recipe.audit is not None:
            audits = _audits(recipe, bench, cells, recipe.audit)
            write_atomically(folder / "audit.json", (json.dumps(audits, indent=1, allow_nan=False) + "\n").encode())
    return processes.agree(lambda: folder)


def _run_all(recipe: Recipe, bench: Bench) -> Cells:
    """Compute every run of a study, cheapest knowledge first: original, reference, methods, replicate by replicate."""
    cells: Cells = defaultdict(Cell)
    entries = [expanded for entry in recipe.methods for expanded in entry.expanded()]
    replicates = recipe.seeds.replicates()
    chosen = [(label, method) for label, method, _ in _methods(recipe, 0, 0)]
    unserved = refuse(bench, recipe.forget, chosen, seed=replicates[0][0], batch_size=recipe.batch_size)
    for (text, label), reason in unserved.items():
        cells[text, label].failed = reason
        say(f"{text}, {label}: not run. {reason}")
    train_ahead(bench, list(dict.fromkeys(training_seed for _, training_seed, _ in replicates)))
    firsts = len(recipe.forget)
    retrain_ahead(bench, _references(recipe, bench), firsts * len(replicates), alone=firsts)
    total = len(replicates) * (1 + len(recipe.forget) * (1 + len(entries)))
    with task(recipe.name, total) as advance:
        for split_seed, training_seed, unlearning_seed in replicates:
            original = train_original(bench, training_seed)
            say(f"original, seed {training_seed}: {_brief(_seen(recipe, original.run), original.run)}")
            advance()
            for text in recipe.forget:
                forget = resolve_forget(text, bench.splits.train, seed=split_seed, hardness=original.hardness())
                cells[text, ORIGINAL].add(original.run, _scores(recipe, original.outputs, forget), forget)
                for label, method, seed in _methods(recipe, training_seed, unlearning_seed):
                    if (text, label) not in unserved:
                        _run_method(cells[text, label], recipe, original, forget, method, seed, f"{text}, {label}")
                    advance()
    return cells


def _audits(recipe: Recipe, bench: Bench, cells: Cells, level: Level) -> list[dict[str, Any]]:
    """The audit of each method's first replicate on each forget set; the models they need are trained once for all."""
    audited = [(text, label, cell.runs[0]) for (text, label), cell in cells.items() if label != ORIGINAL and cell.runs]
    found = []
    with task(f"{recipe.name}: audits", len(audited)) as advance:
        for text, label, path in audited:
            audit = Audit(Run(path), bench.store, level, recipe.references or NUMBERS[level])
            audit.train(train_original(bench, audit.cast.seed))
            result = write_audit(audit)
            say(f"{text}, {label}: {result['verdict']}")
            found.append({"scenario": text, "label": label} | result)
            advance()
    return found


def _references(recipe: Recipe, bench: Bench) -> Iterator[Reference]:
    """The retrained reference of each replicate and forget set, those of the first replicate first."""
    for split_seed, training_seed, _ in recipe.seeds.replicates():
        original = train_original(bench, training_seed)
        for text in recipe.forget:
            forget = resolve_forget(text, bench.splits.train, seed=split_seed, hardness=original.hardness())
            yield original, forget, Retrain(**recipe.retrain.model_dump()), training_seed


def _methods(recipe: Recipe, training_seed: int, unlearning_seed: int) -> Iterator[tuple[str, Method, int]]:
    """Label, method and seed of each run on one forget set; the retrained reference comes first."""
    yield RETRAINED, Retrain(**recipe.retrain.model_dump()), training_seed
    for entry in recipe.methods:
        for label, name, settings in entry.expanded():
            yield label, method_named(name)(**settings), unlearning_seed


def _run_method(
    cell: Cell, recipe: Recipe, original: Original, forget: ForgetSet, method: Method, seed: int, label: str
) -> None:
    """One replicate of one method; one that fails is a result, and does not stop the others."""
    try:
        batch_size = None if isinstance(method, Retrain) else recipe.batch_size
        run = unlearn_from(original, forget, method, seed=seed, batch_size=batch_size)
    except (TrainingError, UsageError) as error:
        if cell.failed is None:
            cell.failed = str(error)
        say(f"{label}, seed {seed}: failed. {error}")
        return
    found = _scores(recipe, run.outputs(), forget)
    cell.add(run, found, forget)
    say(f"{label}, seed {seed}: {_brief(found, run)}")


def _scores(recipe: Recipe, outputs: Outputs, forget: ForgetSet) -> Scores:
    """Scores on the test set, or with the holdout in its place."""
    predictions = outputs.split(forget)
    return scores(holdout_as_test(predictions) if recipe.score_on == "holdout" else predictions)


def _seen(recipe: Recipe, run: Run) -> Scores:
    """A run's recorded scores without those of the test set, where the study must not see them."""
    hidden = "test" if recipe.score_on == "holdout" else "holdout"
    return {name: value for name, value in run.record.scores.items() if not name.startswith(hidden)}


def _brief(found: Scores, run: Run) -> str:
    """Scores and a run's seconds in one line."""
    return ", ".join(f"{name} {value:.2f}" for name, value in found.items()) + f" ({run.record.seconds:.1f} s)"


def _store_examples(recipe: Recipe, bench: Bench, folder: Path) -> None:
    """Keep a few hybrids of the first replicate for a picture, if NatMU takes part."""
    entries = [settings for entry in recipe.methods for _, name, settings in entry.expanded() if name == NatMU.name]
    if entries:
        split_seed, training_seed, unlearning_seed = recipe.seeds.replicates()[0]
        original = train_original(bench, training_seed)
        train = bench.splits.train
        forget = resolve_forget(recipe.forget[0], train, seed=split_seed, hardness=original.hardness())
        with suppress(NatmuError):  # where NatMU cannot serve this forget set, its row of the table says why
            store_hybrids(original, forget, NatMU(**entries[0]), unlearning_seed, folder)


def table_rows(texts: Sequence[str], labels: Sequence[str], cells: Cells) -> list[dict[str, Any]]:
    """The table of a study, one row per forget spec and method.

    Args:
        texts: The forget specs.
        labels: The methods in order, ``original`` and ``retrained`` included.
        cells: What is known, by forget spec and method.
    """
    rows = []
    for text in texts:
        reference = cells[text, RETRAINED]
        for label in labels:
            cell = cells[text, label]
            row: dict[str, Any] = {"scenario": text, "method": label, "n": len(cell.scores), "failed": cell.failed}
            row |= {name: summary([found[name] for found in cell.scores if name in found]) for name in SCORE_NAMES}
            row["avg_gap"] = summary(_gaps(cell, reference, itself=label == RETRAINED))
            seconds, shares = ([], []) if label == ORIGINAL else _costs(cell, reference)
            row |= {"seconds": summary(seconds), "retrain_share": summary(shares)}
            rows.append(row)
    return rows


def _costs(cell: Cell, reference: Cell) -> tuple[list[float], list[float]]:
    """Seconds of a method, and as shares of the seconds of retraining.

    Only like is compared with like: of each method the runs that had the most threads, which are those that had the
    machine to themselves, and of retraining those on the same hardware with as many threads. References that were
    trained beside others do not count.
    """
    if not cell.runs:
        return [], []
    best = max(cell.hardware, key=lambda facts: int(facts["threads"]))
    seconds, retraining = _seconds_on(best, cell), _seconds_on(best, reference)
    return seconds, [one / statistics.mean(retraining) for one in seconds] if retraining else []


def _seconds_on(hardware: dict[str, str], cell: Cell) -> list[float]:
    """Seconds of the runs that were made on this hardware."""
    return [seconds for seconds, facts in zip(cell.seconds, cell.hardware, strict=True) if facts == hardware]


def _gaps(cell: Cell, reference: Cell, *, itself: bool) -> list[float]:
    """Each replicate's distance to the mean of the models retrained without the same forget set.

    A retrained model is compared with the others only: that is the noise floor.
    """
    gaps = []
    for number, (found, forget) in enumerate(zip(cell.scores, cell.forgets, strict=True)):
        others = [
            scored
            for place, (scored, digest) in enumerate(zip(reference.scores, reference.forgets, strict=True))
            if digest == forget and not (itself and place == number)
        ]
        if others:
            gaps.append(avg_gap(found, mean_scores(others)))
    return gaps


def summary(values: list[float]) -> dict[str, Any] | None:
    """Mean, sample standard deviation and the values themselves; None where there are none."""
    if not values:
        return None
    spread = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.fmean(values), "std": spread, "values": values}
