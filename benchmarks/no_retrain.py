"""How close do settings chosen without any retrained model come to those chosen with one?

    python benchmarks/no_retrain.py --data-dir data --out runs --forget random:10% --trials 12

The set-up is that of recipes/cpu/cifar10.yaml. Each method runs with the same number of settings, drawn beforehand
from its ranges (a Latin hypercube), and each run is judged on the holdout by both objectives of ``natmu search``:
``retrained`` sees one retrained model, ``no-retrain`` none. Beside them stands ``no-retrain`` with the model's own
predictions on the holdout as its yardstick, as it was before the original's took their place. What each chose is then
scored on the test set against three other retrained models, beside the trial that is best there in hindsight. Every
trial is written to ``--results`` as it ends; the same command continues where it was.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scipy.stats import qmc, spearmanr

from natmu.engine.compute import Compute
from natmu.engine.memory import keep_freed_memory
from natmu.engine.store import Run, Store
from natmu.errors import TrainingError
from natmu.lineage import Workspace, obtain, outcome_of
from natmu.methods import Method, Retrain, method_named
from natmu.records.forgetting import parse_forget
from natmu.records.lineage import Forget, Trained
from natmu.scores import avg_gap, mean_scores, scores
from natmu.scores.objectives import against_retrained, on_holdout, without_retrained
from natmu.studies import Recipe, read_recipe
from natmu.types import seed_for
from no_retrain_rows import with_own_yardstick

RECIPE = Path(__file__).parent.parent / "recipes" / "cpu" / "cifar10.yaml"

RANGES: Mapping[str, Mapping[str, Any]] = {
    "natmu": {"lr": (1e-3, 3e-2), "delta": (-0.3, 0.2)},
    "salun": {"lr": (3e-4, 1e-2), "threshold": (0.02, 0.5)},
    "delete": {"lr": (1e-4, 3e-2), "freeze_statistics": [False, True]},
    "neggrad_plus": {"lr": (3e-3, 0.2), "retain_weight": (0.8, 0.995)},
    "amnesiac": {"lr": (3e-5, 3e-3), "reset_head": [False, True]},
}
"""Of each method, the lowest and highest value of a setting, or its choices; ``lr`` and ``threshold`` are drawn on a
logarithmic scale."""

FIXED: Mapping[str, Mapping[str, Any]] = {"natmu": {"augment_retain": False}}
TEST_REFERENCES = 3

OBJECTIVES: Mapping[str, str] = {
    "retrained": "retrained",
    "no_retrain": "no-retrain",
    "own_yardstick": "own yardstick",
}
"""Names of the columns, by those of the results."""


def main() -> None:
    """Run every trial, and print for each method what either objective chose."""
    keep_freed_memory()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--out", type=Path, default=Path("runs"))
    parser.add_argument("--forget", default="random:10%")
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument(
        "--seed", type=int, default=0, help="of the original, the forget set, the methods and the draws"
    )
    parser.add_argument("--results", type=Path, default=Path("no-retrain.json"))
    parser.add_argument("--report", action="store_true", help="print what is in --results, and run nothing")
    asked = parser.parse_args()
    if asked.report:
        report(json.loads(asked.results.read_text()))
        return
    recipe = read_recipe(RECIPE)
    compute = Compute.choose("cpu", recipe.precision)
    workspace = Workspace.open(recipe.data, asked.data_dir, recipe.model, compute, Store(asked.out))
    source = workspace.original(recipe.training, asked.seed)
    obtain(source, workspace)
    forget = workspace.forget(parse_forget(asked.forget), asked.seed, source)
    judge = Judge(recipe, workspace, source, forget, asked.seed)
    found: dict[str, list[dict[str, Any]]] = {}
    for trial in range(asked.trials):
        for method in RANGES:
            settings = draws(method, asked.trials, asked.seed)[trial]
            found.setdefault(method, []).append(judge.trial(method, settings))
            print(method, json.dumps(found[method][-1]), flush=True)
            result = {"forget": asked.forget, "seed": asked.seed, "trials": found, **judge.scale()}
            asked.results.write_text(json.dumps(result, indent=1) + "\n")
    report(result)


class Judge:
    """Both objectives, and the test set.

    Args:
        recipe: The set-up.
        workspace: Where models are made.
        source: The original, to unlearn from, which has been made.
        forget: What to forget.
        seed: Of the methods and of the retrained model that ``retrained`` sees.
    """

    def __init__(self, recipe: Recipe, workspace: Workspace, source: Trained, forget: Forget, seed: int) -> None:
        self.workspace, self.source, self.wanted, self.seed = workspace, source, forget, seed
        self.original, self.forget = workspace.require(source), workspace.forget_set(forget)
        self.seen = self.run_of(Retrain(**recipe.retrain.model_dump()), seed)
        fresh = Retrain(init="fresh")
        self.unseen = [self.run_of(fresh, seed + 100 + number) for number in range(TEST_REFERENCES)]

    def run_of(self, method: Method, seed: int) -> Run:
        """What a method makes of the original."""
        at = self.workspace.arithmetic
        return obtain(outcome_of(method, self.source, self.wanted, seed=seed, batch_size=None, at=at), self.workspace)

    def scale(self) -> dict[str, Any]:
        """What the original and retrained models get, by which all other values are to be read."""
        values = [self.test_scores(run) for run in self.unseen]
        floor = [avg_gap(one, mean_scores([other for other in values if other is not one])) for one in values]
        return {
            "original": self.judged(self.original),
            "retrained": [self.judged(run) for run in (self.seen, *self.unseen)],
            "floor": floor,
        }

    def trial(self, method: str, settings: dict[str, Any]) -> dict[str, Any]:
        """One run of a method, judged; a failed one says why."""
        try:
            run = self.run_of(method_named(method)(**settings), self.seed)
        except TrainingError as error:
            return {"settings": settings, "failed": str(error)}
        return {"settings": settings, "seconds": run.record.seconds, "run": run.record.digest, **self.judged(run)}

    def judged(self, run: Run) -> dict[str, Any]:
        """Both objectives on the holdout, with their terms, and ``avg_gap`` on the test set."""
        here, before = (on_holdout(one.outputs(), self.forget) for one in (run, self.original))
        reference = on_holdout(self.seen.outputs(), self.forget)
        whole = self.forget.scenario == "class"
        retrained, without = against_retrained(here, [reference]), without_retrained(here, before, whole_classes=whole)
        references = mean_scores([self.test_scores(one) for one in self.unseen])
        return {
            "retrained": retrained.value,
            "retrained_terms": retrained.terms,
            "no_retrain": without.value,
            "no_retrain_terms": without.terms,
            "own_yardstick": with_own_yardstick(here, before, whole=whole),
            "test": avg_gap(self.test_scores(run), references),
            "test_scores": self.test_scores(run),
        }

    def test_scores(self, run: Run) -> dict[str, float]:
        """The scores on the test set."""
        return scores(run.outputs().split(self.forget))


def draws(method: str, count: int, seed: int) -> list[dict[str, Any]]:
    """Settings of all trials of a method."""
    ranges = RANGES[method]
    cube = qmc.LatinHypercube(len(ranges), rng=seed_for(seed, "draws", method) % 2**32).random(count)
    named = [dict(zip(ranges, row, strict=True)) for row in cube]
    return [
        {**FIXED.get(method, {}), **{name: value(name, ranges[name], float(share)) for name, share in row.items()}}
        for row in named
    ]


def value(name: str, ends: tuple[float, float] | list[Any], share: float) -> Any:  # noqa: ANN401 - any setting's value
    """The value at a share of a range, to four digits."""
    if isinstance(ends, list):
        return ends[int(share * len(ends))]
    low, high = ends
    if name in ("lr", "threshold"):
        return float(f"{math.exp(math.log(low) + share * math.log(high / low)):.4g}")
    return float(f"{low + share * (high - low):.4g}")


def report(result: Mapping[str, Any]) -> None:
    """One row per method in Markdown.

    Args:
        result: What was written to ``--results``; of a run that was stopped, the rounds that every method had.
    """
    rounds = min(map(len, result["trials"].values()))
    print(f"{result['forget']}, seed {result['seed']}, {rounds} trials of each method; avg_gap on the test set")
    chose = " | ".join(f"{name} chose" for name in OBJECTIVES.values())
    print(f"| method | failed | {chose} | best of all | median trial | Spearman | of half |")
    print(f"|---|---:|{'---:|' * len(OBJECTIVES)}---:|---:|---:|---:|")
    lost, every = [], []
    for method, trials in result["trials"].items():
        done = [trial for trial in trials[:rounds] if "failed" not in trial]
        every += done
        chosen = {by: min(done, key=lambda trial: trial[by])["test"] for by in (*OBJECTIVES, "test")}
        lost.append(chosen["no_retrain"] - chosen["retrained"])
        rank = spearmanr([trial["retrained"] for trial in done], [trial["no_retrain"] for trial in done]).statistic
        middle = statistics.median(trial["test"] for trial in done)
        cells = [*(f"{one:.2f}" for one in chosen.values()), f"{middle:.2f}", f"{rank:.2f}", of_half(done)]
        print(f"| {method} | {rounds - len(done)} | {' | '.join(cells)} |")
    spread = f"standard deviation {statistics.stdev(lost):.2f}, from {min(lost):+.2f} to {max(lost):+.2f}"
    print(f"no-retrain minus retrained: mean {statistics.mean(lost):+.2f}, {spread}, n = {len(lost)} methods")
    ranks = {by: spearmanr([one[by] for one in every], [one["test"] for one in every]).statistic for by in OBJECTIVES}
    agree = ", ".join(f"{name} {ranks[by]:.3f}" for by, name in OBJECTIVES.items())
    print(f"Spearman with avg_gap over {len(every)} trials: {agree}")
    floor, retrained = result["floor"], [one["no_retrain"] for one in result["retrained"]]
    print(f"avg_gap of the original {result['original']['test']:.2f}; between retrained models {shown(floor)}")
    print(f"no-retrain of the original {result['original']['no_retrain']:.2f}; of retrained models {shown(retrained)}")


def of_half(trials: list[dict[str, Any]]) -> str:
    """What no-retrain loses to retrained on the test set, mean and worst over all halves of the trials."""
    lost = [
        min(half, key=lambda trial: trial["no_retrain"])["test"]
        - min(half, key=lambda trial: trial["retrained"])["test"]
        for half in itertools.combinations(trials, len(trials) // 2)
    ]
    return f"{statistics.mean(lost):+.2f} ({max(lost):+.2f})" if lost else ""


def shown(values: list[float]) -> str:
    """Mean, standard deviation and number."""
    return f"{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f} (n = {len(values)})"


if __name__ == "__main__":
    main()
