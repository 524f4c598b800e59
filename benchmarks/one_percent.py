"""Can NatMU forget random samples within one pass over the training data, and within half of one?

    python benchmarks/one_percent.py tune --data-dir data --out runs      # settings of each lead
    python benchmarks/one_percent.py test --data-dir data --out runs      # what they give on three other originals
    python benchmarks/one_percent.py report

The model and its training are those of recipes/cpu/cifar10-full-search.yaml. ``tune`` has an original, a split and
seeds of its own. Each lead has the same number of trials, drawn beforehand from its ranges (a Latin hypercube), and is
judged by the objective ``no-retrain`` on the holdout; no retrained model is made. ``test`` runs the best trial of each
lead once on each of three other originals and measures it on the test set against the models retrained from them. Both
write every result to ``--results`` as it comes; the same command continues where it was.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import qmc
from sklearn.metrics import roc_auc_score

from natmu.engine.compute import Compute, hardware, versions
from natmu.engine.memory import keep_freed_memory
from natmu.engine.predict import outputs_of
from natmu.engine.store import Run, Store
from natmu.errors import TrainingError
from natmu.lineage import Workspace, obtain, outcome_of
from natmu.lineage.unlearning import problem_of
from natmu.methods import Retrain
from natmu.records.forgetting import parse_forget
from natmu.records.lineage import Forget, Trained, Unlearned
from natmu.scores import avg_gap, mean_scores, scores
from natmu.scores.exposed import exposed_by_rmia
from natmu.scores.objectives import on_holdout, without_retrained
from natmu.studies import Recipe, read_recipe
from natmu.types import Outputs, seed_for
from one_percent_method import Lead

RECIPE = Path(__file__).parent.parent / "recipes" / "cpu" / "cifar10-full-search.yaml"
TUNING_SEED = 10
"""Of the original that settings are chosen on, and of all else there."""

SEEDS = (0, 1, 2)
"""Of the originals of the test, and of what is done with each."""

BUDGET = 1.0
"""Passes over the training data, a forward pass counted as a third of one."""

COLUMNS = {"test_acc": 2, "retain_acc": 2, "forget_acc": 2, "mia_entropy": 1, "avg_gap": 2, "rmia_auc": 3}
"""What the table of the test shows, with its digits."""

Settings = dict[str, Any]

BASE: Mapping[str, Settings] = {
    "random:1%": {"retain_fraction": 0.1, "epochs": 5},
    "random:10%": {"retain_fraction": 0.2, "epochs": 2, "n": 2},
}
"""What all leads share at each size; about 0.7 and 0.8 passes with hybrids."""

RATE: Settings = {"lr": (1e-4, 1e-2), "delta": (-0.3, 0.2)}

LEADS: Mapping[str, tuple[Settings, Settings]] = {
    "subset": ({}, RATE),
    "balanced": ({"choice": "balanced"}, RATE),
    "neighbours": ({"choice": "neighbours"}, RATE),
    "thin margins": ({"choice": "thin"}, RATE),
    "original kept": ({"keep": "original"}, RATE),
    "original kept, hybrids too": ({"keep": "original", "hybrids_of": "original"}, RATE),
    "statistics frozen": ({"statistics": "frozen"}, RATE),
    "statistics recalibrated": ({"statistics": "recalibrated"}, RATE),
    "line search": ({"line_search": True}, RATE),
    "stop rule": ({"stop": True}, RATE),
    "last block": ({"blocks": 1}, RATE),
    "last two blocks": ({"blocks": 2}, RATE),
    "mask": ({"mask": 0.3}, RATE),
    "matched": ({"matched": True, "blends": False}, {"lr": (1e-4, 1e-2), "weight_decay": [0.0, 2e-3]}),
    "matched, original kept": (
        {"matched": True, "blends": False, "keep": "original"},
        {"lr": (1e-4, 1e-2), "weight_decay": [0.0, 2e-3]},
    ),
    "matched, original kept, frozen": (
        {"matched": True, "blends": False, "keep": "original", "statistics": "frozen"},
        {"lr": (1e-4, 1e-2), "weight_decay": [0.0, 2e-3]},
    ),
    "matched anew each epoch, original kept": (
        {"matched": True, "blends": False, "keep": "original", "refreshed": True},
        {"lr": (1e-4, 1e-2), "weight_decay": [0.0, 2e-3]},
    ),
    "matched anew among all, original kept": (
        {"matched": True, "blends": False, "keep": "original", "refreshed": True, "ranked_among": "all"},
        {"lr": (1e-4, 1e-2), "weight_decay": [0.0, 2e-3]},
    ),
    "matched anew among all, original kept, temperature 4": (
        {
            "matched": True,
            "blends": False,
            "keep": "original",
            "refreshed": True,
            "ranked_among": "all",
            "temperature": 4,
        },
        {"lr": (1e-4, 1e-2), "weight_decay": [0.0, 2e-3]},
    ),
    "matched, original kept, line search": (
        {"matched": True, "blends": False, "keep": "original", "line_search": True},
        {"lr": (1e-4, 1e-2), "weight_decay": [0.0, 2e-3]},
    ),
    "matched and hybrids, original kept": ({"matched": True, "keep": "original", "n": 1}, RATE),
    "together": (
        {"keep": "original", "statistics": "frozen", "line_search": True, "n": 1},
        RATE,
    ),
}
"""Of each lead, what is fixed and what is searched: ``(low, high)``, ``lr`` on a logarithmic scale, or a list."""

HALF: Mapping[str, Settings] = {
    "random:1%": {"retain_fraction": 0.05, "epochs": 5, "n": 2},
    "random:10%": {"retain_fraction": 0.08, "epochs": 2, "n": 1},
}
"""The same within half a pass."""

MORE_EPOCHS: Mapping[str, Settings] = {
    "random:1%": {"retain_fraction": 0.05, "epochs": 10},
    "random:10%": {"retain_fraction": 0.1, "epochs": 4, "n": 2},
}
"""Fewer retain samples and more epochs at about the same cost."""

VARIANTS: Mapping[str, Mapping[str, Settings]] = {"half": HALF, "more epochs": MORE_EPOCHS}
"""What all leads share otherwise: ``--leads`` names a lead with a comma and one of these at its end."""


def main() -> None:
    """Tune, test or report."""
    keep_freed_memory()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=["tune", "test", "report"])
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--out", type=Path, default=Path("runs"))
    parser.add_argument("--trials", type=int, default=4)
    parser.add_argument("--leads", nargs="+", default=[*LEADS])
    parser.add_argument("--forget", nargs="+", default=[*BASE])
    parser.add_argument("--recipe", type=Path, default=RECIPE)
    parser.add_argument("--results", type=Path, default=Path("one-percent.json"))
    asked = parser.parse_args()
    results = json.loads(asked.results.read_text()) if asked.results.exists() else {"tune": {}, "test": {}}
    if asked.stage == "report":
        report(results)
        return
    recipe = read_recipe(asked.recipe)
    compute = Compute.choose("cpu", recipe.precision)
    results["machine"] = hardware(compute).plain() | versions()
    workspace = Workspace.open(recipe.data, asked.data_dir, recipe.model, compute, Store(asked.out))
    bench = Bench(recipe, workspace)
    for request in asked.forget:
        for name in asked.leads:
            if asked.stage == "tune":
                rows = results["tune"].setdefault(request, {}).setdefault(name, [])
                for settings in draws(name, request, asked.trials)[len(rows) :]:
                    rows.append(bench.tuned(request, settings))
                    print(request, name, json.dumps(rows[-1]), flush=True)
                    asked.results.write_text(json.dumps(results, indent=1) + "\n")
            else:
                rows = results["test"].setdefault(request, {}).setdefault(name, [])
                settings = best_of(results["tune"][request][name])["settings"]
                for seed in SEEDS[len(rows) :]:
                    rows.append(bench.tested(request, settings, seed))
                    print(request, name, json.dumps(rows[-1]), flush=True)
                    asked.results.write_text(json.dumps(results, indent=1) + "\n")


class Bench:
    """Runs leads on the recipe's model.

    Args:
        recipe: The model, its training, and the seeds of the test.
        workspace: Where models are made.
    """

    def __init__(self, recipe: Recipe, workspace: Workspace) -> None:
        self.recipe, self.workspace = recipe, workspace

    def tuned(self, request: str, settings: Settings) -> dict[str, Any]:
        """One trial, judged on the holdout without any retrained model."""
        source, forget = self._problem(request, TUNING_SEED, TUNING_SEED)
        forget_set = self.workspace.forget_set(forget)
        made = self._made(source, forget, settings, TUNING_SEED)
        if isinstance(made, str):
            return {"settings": settings, "failed": made}
        outputs, passes, seconds = made
        before = on_holdout(self.workspace.require(source).outputs(), forget_set)
        judged = without_retrained(on_holdout(outputs, forget_set), before, whole_classes=False)
        return {
            "settings": settings,
            "passes": passes,
            "seconds": seconds,
            "value": judged.value,
            "terms": judged.terms,
            "original": without_retrained(before, before, whole_classes=False).value,
        }

    def tested(self, request: str, settings: Settings, seed: int) -> dict[str, Any]:
        """A lead on one of the recipe's originals, on the test set, beside retrained models and the original."""
        source, forget = self._problem(request, 0, seed)
        forget_set = self.workspace.forget_set(forget)
        retrained = [self._retrained(request, other) for other in SEEDS]
        made = self._made(source, forget, settings, seed)
        if isinstance(made, str):
            return {"settings": settings, "seed": seed, "failed": made}
        outputs, passes, seconds = made
        own = outputs.split(forget_set)
        others = [run.outputs().split(forget_set) for run in retrained]
        original = self.workspace.require(source).outputs().split(forget_set)
        reference = mean_scores([scores(one) for one in others])

        def judged(predictions: Any, references: list[Any]) -> dict[str, float]:  # noqa: ANN401
            inside, outside = exposed_by_rmia(predictions, references)
            truth = np.concatenate([np.ones(len(inside)), np.zeros(len(outside))])
            auc = float(roc_auc_score(truth, np.concatenate([inside, outside])))
            gap = avg_gap(scores(predictions), mean_scores([scores(one) for one in references]))
            return scores(predictions) | {"avg_gap": gap, "rmia_auc": auc}

        return {
            "settings": settings,
            "seed": seed,
            "passes": passes,
            "seconds": seconds,
            "lead": judged(own, others),
            "original": judged(original, others),
            "retrained": [judged(one, [other for other in others if other is not one]) for one in others],
            "reference": reference,
        }

    def _problem(self, request: str, split: int, training: int) -> tuple[Trained, Forget]:
        """The original, made if it is not there, and what it is to forget."""
        source = self.workspace.original(self.recipe.training, training)
        obtain(source, self.workspace)
        return source, self.workspace.forget(parse_forget(request), split, source)

    def _retrained(self, request: str, seed: int) -> Run:
        """The model that a study retrains beside the original of this seed."""
        source, forget = self._problem(request, 0, seed)
        method = Retrain(**self.recipe.retrain.model_dump())
        at = self.workspace.arithmetic
        return obtain(outcome_of(method, source, forget, seed=seed, batch_size=None, at=at), self.workspace)

    def _made(
        self, source: Trained, forget: Forget, settings: Settings, seed: int
    ) -> tuple[Outputs, float, float] | str:
        """Predictions of the unlearned model, passes over the training data and seconds; why not, if it failed."""
        lead = Lead(**settings)
        recipe = self.recipe.training
        size = getattr(recipe, "batch_size", 128)
        wanted = Unlearned(
            source=source,
            forget=forget,
            method="natmu",
            settings={},
            seed=seed,
            batch_size=size,
            arithmetic=self.workspace.arithmetic,
        )
        problem = problem_of(wanted, self.workspace)
        try:
            unlearned = lead(problem)
            outputs = outputs_of(unlearned.model, self.workspace.on_device, problem.compute)
        except TrainingError as error:
            return str(error)
        assert unlearned.passes is not None, "what goes through the model is counted"
        return outputs, unlearned.passes.passes, unlearned.seconds


def draws(name: str, request: str, count: int) -> list[Settings]:
    """Settings of all trials of a lead."""
    lead, _, variant = name.rpartition(", ")
    lead, base = (lead, VARIANTS[variant]) if variant in VARIANTS else (name, BASE)
    fixed, ranges = LEADS[lead]
    cube = qmc.LatinHypercube(len(ranges), rng=seed_for(0, "draws", name, request) % 2**32).random(count)
    return [
        {**base[request], **fixed}
        | {key: value(key, ends, float(share)) for (key, ends), share in zip(ranges.items(), row, strict=True)}
        for row in cube
    ]


def value(name: str, ends: Any, share: float) -> Any:  # noqa: ANN401 - any setting's value
    """The value at a share of a range, to four digits."""
    if isinstance(ends, list):
        return ends[int(share * len(ends))]
    low, high = ends
    if name == "lr":
        return float(f"{math.exp(math.log(low) + share * math.log(high / low)):.4g}")
    return float(f"{low + share * (high - low):.4g}")


def best_of(trials: list[dict[str, Any]]) -> dict[str, Any]:
    """The trial with the lowest objective of those within the budget."""
    done = [trial for trial in trials if "failed" not in trial and trial["passes"] <= BUDGET]
    return min(done, key=lambda trial: trial["value"])


def report(results: Mapping[str, Any]) -> None:
    """Tables in Markdown: what each lead was tuned to, and what it gives on the test set."""
    for request, leads in results["tune"].items():
        original = next(trial["original"] for trials in leads.values() for trial in trials if "original" in trial)
        print(f"\n### {request}, tuning: objective no-retrain (original {original:.2f})\n")
        print("| lead | passes | best | median | lr | other | forget_acc | forget_loss | attack | retain | holdout |")
        print("|---|---:|---:|---:|---:|---|---:|---:|---:|---:|---:|")
        for name, trials in leads.items():
            best = best_of(trials)
            middle = statistics.median(trial["value"] for trial in trials if "value" in trial)
            settings = best["settings"]
            other = {key: settings[key] for key in ("delta", "weight_decay") if key in settings}
            terms = " | ".join(f"{term:.1f}" for term in best["terms"].values())
            shown = ", ".join(f"{key} {given:g}" for key, given in other.items())
            numbers = f"{best['passes']:.2f} | {best['value']:.2f} | {middle:.2f} | {settings['lr']:g}"
            print(f"| {name} | {numbers} | {shown} | {terms} |")
    for request, leads in results["test"].items():
        print(f"\n### {request}, test\n")
        print("| | n | passes | test_acc | retain_acc | forget_acc | mia_entropy | avg_gap | rmia_auc |")
        print("|---|---:|---:|---:|---:|---:|---:|---:|---:|")
        first = next(iter(leads.values()))
        rows = {"original": [row["original"] for row in first], "retrained": first[0]["retrained"]}
        rows |= {name: [row["lead"] for row in trials] for name, trials in leads.items()}
        for name, found in rows.items():
            passes = f"{statistics.mean(row['passes'] for row in leads[name]):.2f}" if name in leads else "-"
            cells = " | ".join(spread([row[column] for row in found], digits) for column, digits in COLUMNS.items())
            print(f"| {name} | {len(found)} | {passes} | {cells} |")


def spread(values: list[float], digits: int) -> str:
    """Mean and standard deviation."""
    mean, deviation = statistics.mean(values), statistics.stdev(values) if len(values) > 1 else None
    return f"{mean:.{digits}f}" + ("" if deviation is None else f" ± {deviation:.{digits}f}")


if __name__ == "__main__":
    main()
