"""The search of methods' settings: the same number of trials for each, scored on the holdout and never on the test set.

The value of a trial is the mean of the objective over the recipe's forget sets, each unlearned once from the original
of the first replicate, so that a method has one best setting for the whole recipe. One that loses retain accuracy
beyond the objective's noise on any of them comes after all that do not.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from natmu.engine.store import Run, Store
from natmu.errors import NatmuError, ResourceError
from natmu.lineage import Workspace, obtain, outcome_of
from natmu.lineage.executors.outcomes import sentence_of
from natmu.lineage.refusal import refuse
from natmu.machine import OutOfMemoryError, ends_all, passing
from natmu.methods import method_named
from natmu.progress import say, showing, task
from natmu.records.derived import knows_initial_weights
from natmu.records.digests import digest_of
from natmu.records.files import write_atomically
from natmu.records.recipe import Range, SearchSettings
from natmu.safe_text import for_log
from natmu.scores.objectives import REVISIONS, Judgement, ranked
from natmu.studies.bench import workspace_of
from natmu.studies.originals import (
    Original,
    given_original,
    keep_original,
    originals_of,
    require_recipe,
    with_original,
    with_resolved_training,
)
from natmu.studies.recipe import MethodEntry, Recipe
from natmu.studies.search.asked import ranges_of, require_searchable
from natmu.studies.search.judging import Judge, judge_of
from natmu.studies.search.ranges import Searched, is_whole, variations
from natmu.studies.search.results import write_found
from natmu.studies.search.storage import Storage
from natmu.studies.search.trials import MOST_SHORT, Claim, Trials, require_optuna
from natmu.studies.table import LOGS
from natmu.types import seed_for

WAIT_SECONDS = 0.3
"""Between two looks at the trials that other workers are running."""


def run_search(
    recipe: Recipe,
    *,
    data_dir: Path,
    out: Path,
    device: str = "auto",
    storage: str | None = None,
    progress: bool = True,
    force: bool = False,
) -> Path:
    """Run what is missing of a search, beside any other workers that do the same, and write what is found.

    Args:
        recipe: What to search; needs ``search`` and a holdout.
        data_dir: Where the data lies.
        out: Folder of all runs, the same for all workers; the study's own folder is made in it.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        storage: URL of a database for the trials; a journal in the study folder if None.
        progress: Whether to show progress on standard error.
        force: Whether to go on with a given original that does not seem to belong to the data.

    Returns:
        The study's folder, which holds ``search.json``, ``trials.csv`` and ``best.yaml``; each trial renews them.

    Raises:
        UsageError: The recipe cannot be searched, Optuna is missing, or the storage cannot be opened.
        ResourceError: Some trials could not be run because the machine ran out of something; the files tell of the
            others.
        NatmuError: The data, the model, the original or a retrained model cannot be had.
    """
    settings = require_searchable(recipe)
    searched = [(entry, ranges_of(number, entry)) for number, entry in enumerate(recipe.methods)]
    require_optuna()
    with showing(progress):
        recipe = with_resolved_training(recipe)
        Store(out).require_writable(recipe.name)
        workspace = workspace_of(recipe, data_dir, out, device)
        given = given_original(recipe, workspace)
        if settings.objective == "retrained":
            require_recipe(given, recipe)
        recipe = with_original(recipe, given)
        scene = _scene(recipe, settings, workspace, searched, given, force=force)
        place = Storage(out / recipe.name, storage)
        found = [(method, _trials(method, scene, place)) for method in scene.methods]

        def write() -> None:
            with place.lock:
                write_found(
                    out / recipe.name,
                    recipe,
                    settings,
                    workspace.compute,
                    place.kind,
                    scene.baseline,
                    scene.noise,
                    found,
                )

        aside = _work(scene, found, out / recipe.name, write)
        write()
    if aside:
        raise ResourceError(
            f"{len(aside)} of {settings.trials * len(found)} trials could not be run, and the same command runs them "
            f"again. {aside[0]}"
        )
    return out / recipe.name


@dataclass(frozen=True)
class Scene:
    """What all trials of a search share.

    Attributes:
        recipe: The recipe.
        search: How it is searched.
        workspace: Where models are made.
        source: The original, to unlearn from.
        original: Its run.
        seed: Of the methods.
        judges: The objective, by forget request.
        noise: What it says of models that only noise tells from retrained ones, likewise.
        methods: What is searched.
    """

    recipe: Recipe
    search: SearchSettings
    workspace: Workspace
    source: Original
    original: Run
    seed: int
    judges: dict[str, Judge]
    noise: dict[str, Judgement]
    methods: list[Searched]

    @cached_property
    def baseline(self) -> dict[str, Judgement]:
        """What the objective says of the original, by forget request."""
        return {text: judge(self.original) for text, judge in self.judges.items()}


def _scene(
    recipe: Recipe,
    search: SearchSettings,
    workspace: Workspace,
    searched: list[tuple[MethodEntry, dict[str, Range]]],
    given: Original | None,
    *,
    force: bool,
) -> Scene:
    """Refuse what cannot be done, and then train the original and, where the objective asks, the retrained models.

    The original is not trained where it is given.
    """
    split_seed, training_seed, unlearning_seed = recipe.seeds.replicates()[0]
    tried = [
        (entry.label or entry.method, method_named(entry.method)(**settings))
        for entry, ranges in searched
        for settings in variations(entry.method, entry.settings, ranges)
    ]
    unserved = refuse(
        workspace,
        recipe.told,
        recipe.forget,
        tried,
        seed=split_seed,
        batch_size=recipe.batch_size,
        trained_here=given is None or knows_initial_weights(given),
        scored_on="holdout",
    )
    for (text, label), reason in unserved.items():
        say(f"{text}, {label}: not searched. {reason}")
    if given is not None:
        keep_original(given, recipe, workspace, force=force)
    source = originals_of(recipe, workspace, given)[training_seed]
    original = obtain(source, workspace)
    forgets = {request.text: workspace.forget(request, split_seed, source) for request in recipe.forget}
    methods = [
        Searched(
            label := entry.label or entry.method,
            entry.method,
            entry.settings,
            ranges,
            {text: forget for text, forget in forgets.items() if (text, label) not in unserved},
        )
        for entry, ranges in searched
    ]
    judged = {text: judge_of(recipe, search, workspace, source, original, forget) for text, forget in forgets.items()}
    judges = {text: judge for text, (judge, _) in judged.items()}
    noise = {text: noise for text, (_, noise) in judged.items()}
    return Scene(recipe, search, workspace, source, original, unlearning_seed, judges, noise, methods)


def _trials(method: Searched, scene: Scene, storage: Storage) -> Trials:
    """The trials of a method, under a name that tells them from those of any other search."""
    recipe, search = scene.recipe, scene.search
    decisive = {
        "original": scene.source.digest,
        "forget": {text: scene.workspace.forget_set(forget).digest for text, forget in method.forgets.items()},
        "objective": [search.objective, REVISIONS[search.objective]],
        "retrain": recipe.retrain.model_dump(),
        "method": method.method,
        "settings": method.settings,
        "ranges": {name: range_.model_dump(mode="json") for name, range_ in method.ranges.items()},
        "batch_size": recipe.batch_size,
        "seeds": [scene.seed, search.seed],
        **scene.workspace.arithmetic.plain(),
    }
    ranges = {name: (range_, is_whole(method.method, name)) for name, range_ in method.ranges.items()}
    name = f"{recipe.name}/{method.label}/{digest_of(decisive)}"
    return Trials(storage, name, ranges, search.trials, seed_for(search.seed, "search", method.label))


def _work(
    scene: Scene, found: list[tuple[Searched, Trials]], folder: Path, write: Callable[[], None]
) -> list[NatmuError]:
    """Run trials until all are finished, by this worker or by others.

    Args:
        scene: What they share.
        found: Each method with its trials.
        folder: Of the study.
        write: Writes what was found; called after each trial of this worker.

    Returns:
        Why trials were given back that this worker cannot run, one error for each.
    """

    def finished() -> int:
        return sum(len(trials.finished()) for _, trials in found)

    aside: list[NatmuError] = []
    total, shown = scene.search.trials * len(found), finished()
    with task(f"{scene.recipe.name}: trials", total, shown) as advance:
        while any(trials.left() for _, trials in found):
            claims = ((method, claim) for method, trials in found if (claim := trials.claim()) is not None)
            claimed = next(claims, None)
            if claimed is not None:
                fault = _run_trial(scene, *claimed, folder / LOGS / "search")
                if fault is None:
                    write()
                else:
                    aside.append(fault)
            else:
                time.sleep(WAIT_SECONDS)  # others are at work on all that is left
            done = finished()
            for _ in range(done - shown):
                advance()
            shown = done
    return aside


def _run_trial(scene: Scene, method: Searched, claim: Claim, logs: Path) -> NatmuError | None:
    """One trial; one that fails is a result, and does not stop the others.

    One that the machine cannot run is none: it is given back, to be run again. Only what ran out of memory time and
    again counts as failed.

    Returns:
        Why the trial was given back.

    Raises:
        NatmuError: No trial can be run before the machine is seen to.
    """
    rows: list[dict[str, Any]] = []
    judgements: list[Judgement] = []
    value = reason = None
    try:
        made = method_named(method.method)(**method.settings | claim.settings)
        for text, forget in method.forgets.items():
            size, at = scene.recipe.batch_size, scene.workspace.arithmetic
            model = outcome_of(made, scene.source, forget, seed=scene.seed, batch_size=size, at=at)
            run = obtain(model, scene.workspace)
            judgements.append(scene.judges[text](run))
            rows.append({"forget": text, **asdict(judgements[-1]), **_cost(run)})
        value = ranked(judgements)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a method may be anybody's, and the other trials go on
        fault = passing(error)
        if isinstance(fault, OutOfMemoryError) and claim.short_of_memory() >= MOST_SHORT:
            reason = f"Memory ran out in {MOST_SHORT} attempts, so it may never hold this trial. {fault}"
        elif fault is not None:
            claim.give_back()
            if ends_all(error) is not None:
                raise fault from None if fault is error else error
            say(f"{method.label}, trial {claim.trial.number}: put off. {fault}")
            return fault
        reason = reason or sentence_of(error)
        logs.mkdir(parents=True, exist_ok=True)
        write_atomically(logs / f"{claim.name}.log", for_log(traceback.format_exc()).encode())
    claim.finish(value, rows, reason)
    settings = ", ".join(
        f"{name} {one:.4g}" if isinstance(one, float) else f"{name} {one}" for name, one in claim.settings.items()
    )
    lost = max((one.lost for one in judgements), default=0.0)
    came = f"failed. {reason}" if value is None else f"{value:.2f}" if lost == 0 else _too_much(lost)
    say(f"{method.label}, trial {claim.trial.number} ({settings}): {came}")
    return None


def _too_much(lost: float) -> str:
    return f"loses {lost:.1f} points of retain accuracy beyond the noise"


def _cost(run: Run) -> dict[str, Any]:
    """What a run took, and its digest."""
    record = run.record
    passes = None if record.passes is None else record.passes.passes
    return {"seconds": record.seconds, "passes": passes, "run": record.digest}
