"""Running a recipe: originals, retrained references, unlearned models, one table."""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from natmu.audit import SCORE_NAMES, avg_gap, holdout_as_test, mean_scores, scores
from natmu.data import Splits, load, resolve_forget
from natmu.engine.checkpoint import write_atomically
from natmu.engine.compute import Compute, hardware, versions
from natmu.engine.progress import say, showing, task
from natmu.engine.store import Run, Store
from natmu.errors import TrainingError
from natmu.methods import Method, Retrain, method_named
from natmu.study.jobs import Bench, Original, train_original, unlearn_from
from natmu.study.recipe import Recipe
from natmu.types import ForgetSet, Outputs

Scores = dict[str, float]
ORIGINAL, RETRAINED = "original", "retrained"


@dataclass
class Cell:
    """All replicates of one method on one forget spec.

    Attributes:
        scores: One per replicate.
        seconds: Wall time of unlearning, one per replicate; empty for the original, which does nothing.
        forgets: Digest of each replicate's forget set, which decides the references it is compared with.
        failed: Why a replicate could not be computed.
    """

    scores: list[Scores] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    forgets: list[str] = field(default_factory=list)
    failed: str | None = None


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
        The study's folder, which holds ``table.json``.

    Raises:
        NatmuError: The data, the model or an original cannot be had.
    """
    compute = Compute.choose(device, recipe.precision)
    with showing(progress):
        bench = Bench(recipe.data, load_data(recipe, data_dir), recipe.model, recipe.training, compute, Store(out))
        cells = _run_all(recipe, bench)
        folder = out / recipe.name
        folder.mkdir(parents=True, exist_ok=True)
        table = {
            "name": recipe.name,
            "score_on": recipe.score_on,
            "recipe": recipe.model_dump(mode="json"),
            "hardware": hardware(compute),
            "versions": versions(),
            "rows": _rows(recipe, cells),
        }
        write_atomically(folder / "table.json", (json.dumps(table, indent=1, allow_nan=False) + "\n").encode())
    return folder


def load_data(recipe: Recipe, data_dir: Path) -> Splits:
    """The data that a recipe names."""
    asked = recipe.data
    return load(asked.source, data_dir, image_size=asked.image_size, train_size=asked.train_size, holdout=asked.holdout)


def _run_all(recipe: Recipe, bench: Bench) -> Cells:
    """Compute every run of a study, cheapest knowledge first: original, reference, methods, replicate by replicate."""
    cells: Cells = defaultdict(Cell)
    entries = [expanded for entry in recipe.methods for expanded in entry.expanded()]
    replicates = recipe.seeds.replicates()
    total = len(replicates) * (1 + len(recipe.forget) * (1 + len(entries)))
    with task(recipe.name, total) as advance:
        for split_seed, training_seed, unlearning_seed in replicates:
            original = train_original(bench, training_seed)
            say(f"original, seed {training_seed}: {_brief(original.run)}")
            advance()
            for text in recipe.forget:
                forget = resolve_forget(text, bench.splits.train, seed=split_seed, hardness=original.hardness())
                _note(cells[text, ORIGINAL], recipe, original.outputs, forget, None)
                for label, method, seed in _methods(recipe, training_seed, unlearning_seed):
                    _run_method(cells[text, label], recipe, original, forget, method, seed, f"{text}, {label}")
                    advance()
    return cells


def _methods(recipe: Recipe, training_seed: int, unlearning_seed: int) -> Iterator[tuple[str, Method, int]]:
    """Label, method and seed of each run on one forget set; the retrained reference comes first."""
    yield RETRAINED, Retrain(**recipe.retrain.model_dump()), training_seed
    for entry in recipe.methods:
        for label, name, settings in entry.expanded():
            yield label, method_named(name)(**settings), unlearning_seed


def _run_method(
    cell: Cell, recipe: Recipe, original: Original, forget: ForgetSet, method: Method, seed: int, label: str
) -> None:
    """One replicate of one method; training that diverges is a result, and does not stop the others."""
    try:
        run = unlearn_from(original, forget, method, seed=seed, batch_size=recipe.batch_size)
    except TrainingError as error:
        if cell.failed is None:
            cell.failed = str(error)
        say(f"{label}, seed {seed}: failed. {error}")
        return
    _note(cell, recipe, run.outputs(), forget, run.record.seconds)
    say(f"{label}, seed {seed}: {_brief(run)}")


def _note(cell: Cell, recipe: Recipe, outputs: Outputs, forget: ForgetSet, seconds: float | None) -> None:
    """Add one replicate's scores to its cell."""
    predictions = outputs.split(forget)
    cell.scores.append(scores(holdout_as_test(predictions) if recipe.score_on == "holdout" else predictions))
    cell.forgets.append(forget.digest)
    if seconds is not None:
        cell.seconds.append(seconds)


def _brief(run: Run) -> str:
    """A run's scores and seconds in one line."""
    record = run.record
    return ", ".join(f"{name} {value:.2f}" for name, value in record.scores.items()) + f" ({record.seconds:.1f} s)"


def _rows(recipe: Recipe, cells: Cells) -> list[dict[str, Any]]:
    """The table, one row per forget spec and method."""
    labels = [ORIGINAL, RETRAINED, *(label for entry in recipe.methods for label, _, _ in entry.expanded())]
    rows = []
    for text in recipe.forget:
        reference = cells[text, RETRAINED]
        for label in labels:
            cell = cells[text, label]
            row: dict[str, Any] = {"scenario": text, "method": label, "n": len(cell.scores), "failed": cell.failed}
            row |= {name: summary([found[name] for found in cell.scores if name in found]) for name in SCORE_NAMES}
            row["avg_gap"] = summary(_gaps(cell, reference, itself=label == RETRAINED))
            row["seconds"] = summary(cell.seconds)
            shares = [one / statistics.mean(reference.seconds) for one in cell.seconds] if reference.seconds else []
            row["retrain_share"] = summary(shares)
            rows.append(row)
    return rows


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
