"""The objective of a search on one forget set, with its noise."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from natmu.engine.store import Run
from natmu.lineage import Workspace, obtain
from natmu.records.derived import retrained
from natmu.records.lineage import Forget
from natmu.records.recipe import SearchSettings
from natmu.scores.objectives import (
    Judgement,
    against_retrained,
    noise_without_retrained,
    on_holdout,
    without_retrained,
)
from natmu.studies.originals import Original
from natmu.studies.recipe import Recipe
from natmu.types import ForgetSet, Predictions, seed_for

Judge = Callable[[Run], Judgement]


def judge_of(
    recipe: Recipe, search: SearchSettings, workspace: Workspace, source: Original, original: Run, forget: Forget
) -> tuple[Judge, Judgement]:
    """The objective on one forget set, and its noise."""
    samples = workspace.forget_set(forget)
    if search.objective == "no-retrain":
        before = on_holdout(original.outputs(), samples)
        whole = samples.scenario == "class"
        bootstrap = noise_without_retrained(before, whole_classes=whole, seed=seed_for(search.seed, "noise"))
        return partial(_unlike_unseen, samples, before, bootstrap), bootstrap
    fresh = (recipe.retrain.init == "fresh", True)
    seed = recipe.seeds.replicates()[0][1]
    models = [retrained(source, forget, workspace.arithmetic, seed + n, fresh=fresh[n]) for n in range(2)]
    first, second = (on_holdout(obtain(model, workspace).outputs(), samples) for model in models)
    apart = against_retrained(second, [first])
    return partial(_unlike_retrained, samples, [first, second], apart), apart


def _unlike_unseen(samples: ForgetSet, before: Predictions, noise: Judgement, run: Run) -> Judgement:
    whole = samples.scenario == "class"
    return without_retrained(on_holdout(run.outputs(), samples), before, whole_classes=whole, noise=noise)


def _unlike_retrained(samples: ForgetSet, references: list[Predictions], noise: Judgement, run: Run) -> Judgement:
    return against_retrained(on_holdout(run.outputs(), samples), references, noise)
