"""What a search found, as files beside the study's table: ``search.json``, ``trials.csv`` and ``best.yaml``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from natmu.engine.compute import Compute, hardware, versions
from natmu.records.recipe import SearchSettings
from natmu.records.search import BEST, BestTrial, JudgedModel, Search, SearchedMethod, Trial, write_search
from natmu.scores.objectives import NO_RETRAIN_TERMS, RETRAINED_TERMS, Judgement
from natmu.studies.recipe import Recipe
from natmu.studies.search.ranges import Searched
from natmu.studies.search.trials import Finished, Trials

TERMS = {"retrained": RETRAINED_TERMS, "no-retrain": NO_RETRAIN_TERMS}


def write_found(
    folder: Path,
    recipe: Recipe,
    search: SearchSettings,
    compute: Compute,
    storage: str,
    baseline: Mapping[str, Judgement],
    noise: Mapping[str, Judgement],
    found: Sequence[tuple[Searched, Trials]],
) -> None:
    """Write the three files of a search, finished or not.

    Args:
        folder: The study folder.
        recipe: What was searched.
        search: How.
        compute: What this worker ran on.
        storage: Kind of the storage.
        baseline: What the objective says of the original, by forget request.
        noise: What it says of models that only noise tells from retrained ones, likewise.
        found: Each method with its trials.
    """
    ended = [(method, trials.finished()) for method, trials in found]
    best = {method.label: _best(trials) for method, trials in ended}
    result = Search(
        name=recipe.name,
        objective=search.objective,
        trials=search.trials,
        seed=search.seed,
        storage=storage,
        hardware=hardware(compute),
        versions=versions() | {"optuna": version("optuna")},
        original={text: JudgedModel(**asdict(judgement)) for text, judgement in baseline.items()},
        noise={text: JudgedModel(**asdict(judgement)) for text, judgement in noise.items()},
        methods=tuple(_summary(method, trials, best[method.label]) for method, trials in ended),
    )
    rows = [row for method, trials in ended for trial in trials for row in _rows(method, trial)]
    write_search(folder, result, rows, _best_recipe(folder, recipe, best, result), TERMS[search.objective])


def _best(trials: Sequence[Finished]) -> Finished | None:
    """The trial of the lowest value, of equal ones the first; None if no trial has one."""
    complete = [trial for trial in trials if trial.value is not None]
    return min(complete, key=lambda trial: (trial.value, trial.number), default=None)


def _summary(method: Searched, trials: Sequence[Finished], best: Finished | None) -> SearchedMethod:
    """What a method's trials came to; terms are means over its forget sets."""
    return SearchedMethod(
        label=method.label,
        method=method.method,
        forget=tuple(method.forgets),
        ranges=method.ranges,
        trials=len(trials),
        failed=sum(trial.value is None for trial in trials),
        seconds=sum(row["seconds"] for trial in trials for row in trial.notes["rows"]),
        passes=_total([row["passes"] for trial in trials for row in trial.notes["rows"]]),
        best=None if best is None or best.value is None else _best_trial(method, best, best.value),
    )


def _total(passes: Sequence[float | None]) -> float | None:
    """All of them; None where one is not known."""
    known = [one for one in passes if one is not None]
    return sum(known) if len(known) == len(passes) else None


def _best_trial(method: Searched, best: Finished, value: float) -> BestTrial:
    terms = [row["terms"] for row in best.notes["rows"]]
    return BestTrial(
        trial=best.number,
        value=value,
        terms={name: float(np.mean([of_one[name] for of_one in terms])) for name in terms[0]},
        lost=max(row["lost"] for row in best.notes["rows"]),
        searched=best.settings,
        settings=method.settings | best.settings,
    )


def _rows(method: Searched, trial: Finished) -> Iterator[Trial]:
    """What a trial came to on each forget set; one that failed ends with the forget set on which it did."""
    done = trial.notes["rows"]
    shared: dict[str, Any] = {"method": method.label, "trial": trial.number}
    shared |= {"settings": method.settings | trial.settings}
    for row in done:
        measured = {name: row[name] for name in ("forget", "value", "lost", "terms", "seconds", "passes", "run")}
        yield Trial(**shared, **measured, state="complete")
    if trial.value is None:
        yield Trial(**shared, forget=list(method.forgets)[len(done)], state="failed", reason=trial.notes["reason"])


def _best_recipe(folder: Path, recipe: Recipe, best: Mapping[str, Finished | None], result: Search) -> str:
    """The recipe with the best settings, scored on the test set; methods without a trial of a value are left out."""
    said = recipe.model_dump(mode="json", exclude_unset=True) | {"score_on": "test"}
    del said["search"]
    methods = []
    for entry, written in zip(recipe.methods, said["methods"], strict=True):
        chosen = best[entry.label or entry.method]
        if chosen is not None:
            written.pop("search", None)
            methods.append(written | {"settings": entry.settings | chosen.settings})
    left_out = ", ".join(label for label, one in best.items() if one is None)
    head = f"# natmu bench {folder / BEST}\n#\n# Settings found by natmu search on the holdout.\n"
    if result.to_come:
        budget = result.trials * len(result.methods)
        ended = f"{budget - result.to_come} of {budget} trials"
        head += f"# The search is not finished: {ended} have ended. The same command continues it.\n"
    head += f"# No trial succeeded, so it is left out: {left_out}\n" if left_out else ""
    return head + yaml.safe_dump(said | {"methods": methods}, sort_keys=False, width=120, allow_unicode=True)
