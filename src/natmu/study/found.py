"""What a search found, as files beside the study's table: ``search.json``, ``trials.csv`` and ``best.yaml``."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from natmu.engine.compute import Compute, hardware, versions
from natmu.records.files import write_atomically
from natmu.scores.objectives import NO_RETRAIN_TERMS, RETRAINED_TERMS, Judgement
from natmu.study.ranges import Searched, SearchSettings
from natmu.study.recipe import Recipe
from natmu.study.trials import Finished, Trials

FOUND = "search.json"
"""Of a study folder, what a search found."""

TERMS = {"retrained": RETRAINED_TERMS, "no-retrain": NO_RETRAIN_TERMS}


def write_found(
    folder: Path,
    recipe: Recipe,
    search: SearchSettings,
    compute: Compute,
    storage: str,
    baseline: Mapping[str, Judgement],
    found: Sequence[tuple[Searched, Trials]],
) -> None:
    """Write the three files of a search.

    Args:
        folder: The study folder.
        recipe: What was searched.
        search: How.
        compute: What this worker ran on.
        storage: Kind of the storage.
        baseline: What the objective says of the original, by forget spec.
        found: Each method with its trials.
    """
    ended = [(method, trials.finished()) for method, trials in found]
    best = {method.label: _best(trials) for method, trials in ended}
    result = {
        "name": recipe.name,
        "objective": search.objective,
        "trials": search.trials,
        "seed": search.seed,
        "score_on": "holdout",
        "storage": storage,
        "hardware": hardware(compute),
        "versions": versions() | {"optuna": version("optuna")},
        "original": {text: asdict(judgement) for text, judgement in baseline.items()},
        "methods": [_summary(method, trials, best[method.label]) for method, trials in ended],
    }
    write_atomically(folder / "trials.csv", _csv(ended, TERMS[search.objective]).encode())
    write_atomically(folder / "best.yaml", _best_recipe(folder, recipe, best).encode())
    write_atomically(folder / FOUND, (json.dumps(result, indent=1, allow_nan=False) + "\n").encode())


def _best(trials: Sequence[Finished]) -> Finished | None:
    """The trial of the lowest value, of equal ones the first; None if all failed."""
    complete = [trial for trial in trials if trial.value is not None]
    return min(complete, key=lambda trial: (trial.value, trial.number), default=None)


def _summary(method: Searched, trials: Sequence[Finished], best: Finished | None) -> dict[str, Any]:
    """What a method's trials came to; terms are means over its forget sets."""
    failed = [trial for trial in trials if trial.value is None]
    summary: dict[str, Any] = {
        "label": method.label,
        "method": method.method,
        "forget": list(method.forgets),
        "ranges": {name: range_.model_dump(mode="json") for name, range_ in method.ranges.items()},
        "trials": len(trials),
        "failed": len(failed),
        "seconds": sum(row["seconds"] for trial in trials for row in trial.notes["rows"]),
        "best": None,
    }
    if best is not None:
        terms = [row["terms"] for row in best.notes["rows"]]
        summary["best"] = {
            "trial": best.number,
            "value": best.value,
            "terms": {name: float(np.mean([one[name] for one in terms])) for name in terms[0]},
            "searched": best.settings,
            "settings": method.settings | best.settings,
        }
    return summary


def _csv(ended: Sequence[tuple[Searched, Sequence[Finished]]], terms: Sequence[str]) -> str:
    """A row for each trial and forget set."""
    text = io.StringIO()
    columns = ["method", "forget", "trial", "state", "value", *terms, "seconds", "run", "settings", "reason"]
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for method, trials in ended:
        for trial in trials:
            shown = {"method": method.label, "trial": trial.number}
            shown |= {"settings": json.dumps(method.settings | trial.settings, sort_keys=True)}
            writer.writerows(shown | row for row in _rows(method, trial))
    return text.getvalue()


def _rows(method: Searched, trial: Finished) -> Iterator[dict[str, Any]]:
    """What a trial came to on each forget set; one that failed ends with the forget set on which it did."""
    done = trial.notes["rows"]
    for row in done:
        yield {
            "forget": row["forget"],
            "state": "complete",
            "value": row["value"],
            **row["terms"],
            "seconds": row["seconds"],
            "run": row["run"],
        }
    if trial.value is None:
        yield {"forget": list(method.forgets)[len(done)], "state": "failed", "reason": trial.notes["reason"]}


def _best_recipe(folder: Path, recipe: Recipe, best: Mapping[str, Finished | None]) -> str:
    """The recipe with the best settings, scored on the test set; methods of which all trials failed are left out."""
    said = recipe.model_dump(mode="json", exclude_unset=True) | {"score_on": "test"}
    del said["search"]
    methods = []
    for entry, written in zip(recipe.methods, said["methods"], strict=True):
        chosen = best[entry.label or entry.method]
        if chosen is not None:
            written.pop("search", None)
            methods.append(written | {"settings": entry.settings | chosen.settings})
    left_out = ", ".join(label for label, one in best.items() if one is None)
    head = f"# natmu bench {folder / 'best.yaml'}\n#\n# Settings found by natmu search on the holdout.\n"
    head += f"# All trials failed, so it is left out: {left_out}\n" if left_out else ""
    return head + yaml.safe_dump(said | {"methods": methods}, sort_keys=False, width=120, allow_unicode=True)
