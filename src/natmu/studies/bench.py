"""Running a recipe: what it wants, the models, their audits, one table."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from natmu.engine import processes
from natmu.engine.compute import Compute, hardware, versions
from natmu.engine.store import Store
from natmu.engine.threads import threads
from natmu.errors import NatmuError
from natmu.lineage import Workspace
from natmu.lineage.executors.ray import driver_compute
from natmu.lineage.refusal import refuse
from natmu.methods import NatMU, Problem
from natmu.methods.examples import hybrid_examples
from natmu.opening import Place as OpenPlace
from natmu.opening_backbones import open_backbone
from natmu.progress import say, showing
from natmu.records.derived import knows_initial_weights
from natmu.records.lineage import Backbone
from natmu.records.run import Hardware
from natmu.records.settings import LogisticTraining
from natmu.records.study import Hybrids, write_study
from natmu.records.table import Table
from natmu.scores.statistics import statistics_of
from natmu.studies.auditing import audit_rows
from natmu.studies.originals import (
    Original,
    given_original,
    keep_original,
    own_training,
    require_recipe,
    with_original,
    with_resolved_training,
)
from natmu.studies.plan import Place, Plan, methods_of, plan_of
from natmu.studies.recipe import Recipe
from natmu.studies.running import RunningStudy, make_models
from natmu.studies.searched import searched_in
from natmu.studies.table import LOGS, Scorer, cells_of, columns, table_rows
from natmu.types import ORIGINAL, RETRAINED

READABLE = (
    "the noise of the heads follows from the training seeds, and they are in the recipe. Anyone who reads it can "
    "subtract the noise. A study compares methods; for a head that keeps its promise, use natmu train without --seed."
)
"""What is said of a logistic head in a study."""


def run_recipe(
    recipe: Recipe, *, data_dir: Path, out: Path, device: str = "auto", progress: bool = True, force: bool = False
) -> Path:
    """Run what is missing of a study and write its table.

    A model that fails is a failed row of the table and does not stop the others.

    Args:
        recipe: What to do.
        data_dir: Where the data lies.
        out: Folder of all runs; the study's own folder is made in it.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        progress: Whether to show progress on standard error.
        force: Whether to go on with a given original that does not seem to belong to the data.

    Returns:
        The study's folder, which holds ``table.json``, ``audit.json`` where the recipe asks for an audit, where NatMU
        takes part ``hybrids.npz``, and ``logs/`` where something failed.

    Raises:
        UsageError: The data or the model cannot be had, or the recipe asks for what cannot be done.
    """
    with showing(progress):
        recipe, folder = with_resolved_training(recipe), out / recipe.name
        Store(out).require_writable(recipe.name)
        workspace, backbone = opened(recipe, data_dir, out, device)
        if isinstance(recipe.training, LogisticTraining):
            say("warning: " + READABLE)
        original = given_original(recipe, workspace)
        require_recipe(original, recipe)
        recipe = with_original(recipe, original)
        unserved = unserved_by(recipe, workspace, original)
        if original is not None:
            keep_original(original, recipe, workspace, force=force)
        plan = plan_of(recipe, workspace, unserved, original, backbone)
        for (text, label), reason in unserved.items():
            say(f"{text}, {label}: not run. {reason}")
        study = RunningStudy(recipe, workspace, plan, Scorer(recipe), folder / LOGS)
        with threads(recipe.executor.cpus):
            make_models(study, plan.models)
            if recipe.audit is not None:
                audit_rows(study)
        if processes.writes():
            _write(study, unserved, folder)
    return processes.agree(lambda: folder)


def workspace_of(recipe: Recipe, data_dir: Path, out: Path, device: str) -> Workspace:
    """Where the models of a recipe are made."""
    return opened(recipe, data_dir, out, device)[0]


def opened(recipe: Recipe, data_dir: Path, out: Path, device: str) -> tuple[Workspace, Backbone | None]:
    """Where the models of a recipe are made, and the backbone of heads, whose features are then in the store."""
    synced = recipe.sync_batch_norm
    if recipe.features_from is not None:
        place = OpenPlace(data_dir, out, device=device, precision=recipe.precision, sync_batch_norm=synced)
        asked = recipe.data.model_dump(exclude_unset=True)
        workspace, backbone = open_backbone(place, asked, recipe.features_from, recipe.model)
        if recipe.executor.kind == "ray":
            compute = driver_compute(recipe.executor, device, "fp32", sync_batch_norm=synced)
            workspace = replace(workspace, compute=compute)
        return workspace, backbone
    if recipe.executor.kind == "ray":
        compute = driver_compute(recipe.executor, device, recipe.precision, sync_batch_norm=synced)
    else:
        compute = Compute.choose(device, recipe.precision, sync_batch_norm=synced)
    return Workspace.open(recipe.data, data_dir, recipe.model, compute, Store(out)), None


def unserved_by(recipe: Recipe, workspace: Workspace, original: Original | None) -> dict[Place, str]:
    """Refuse what cannot be done before anything runs.

    Args:
        recipe: What to do.
        workspace: Its data and its architecture.
        original: The original, where it is given and not trained.

    Returns:
        By row, why a method that serves another forget set of the recipe does not serve this one.

    Raises:
        UsageError: A forget set does not fit the data, or a method none of the forget sets.
    """
    seed = recipe.seeds.replicates()[0][0]
    shared, unserved = original is None or knows_initial_weights(original), dict[Place, str]()
    for label, method in methods_of(recipe).items():
        own = own_training(recipe, method)
        unserved |= refuse(
            workspace,
            own or recipe.training,
            recipe.forget,
            [(label, method)],
            seed=seed,
            batch_size=recipe.batch_size,
            trained_here=shared or own is not None,
            scored_on=recipe.score_on,
        )
    return unserved


def _write(study: RunningStudy, unserved: dict[Place, str], folder: Path) -> None:
    """Write the table of a study and what goes with it."""
    recipe, plan = study.recipe, study.plan
    labels = [label for entry in recipe.methods for label, _, _ in entry.expanded()]
    texts = [request.text for request in recipe.forget]
    names = columns(recipe.scores)
    cells = cells_of(plan, study.outcomes, study.scorer, study.workspace, unserved)
    rows = table_rows(texts, [ORIGINAL, RETRAINED, *labels], recipe.scores, cells, searched_in(folder, recipe))
    comparisons, ranks = statistics_of(rows, names)
    table = Table(
        name=recipe.name,
        score_on=recipe.score_on,
        recipe=recipe,
        hardware=_hardware(study),
        versions=versions(),
        columns=names,
        rows=rows,
        comparisons=comparisons,
        ranks=ranks,
    )
    write_study(folder, table, None if recipe.audit is None else study.study_audits(), _examples(plan, study))
    kept = {outcome.log for outcome in (*study.outcomes.values(), *study.audits.values())}
    for log in (folder / LOGS).glob("*-??????.log"):  # those of models and audits: a search has its own there
        if log.name not in kept:  # of an earlier run of this study, and no longer true
            log.unlink(missing_ok=True)


def _hardware(study: RunningStudy) -> Hardware:
    """What the models were made on; of a cluster, what the first of them was made on."""
    runs = [outcome.run for outcome in study.outcomes.values() if outcome.run is not None]
    if study.recipe.executor.kind == "local" or not runs:
        with threads(study.recipe.executor.cpus):
            return hardware(study.workspace.compute)
    return runs[0].record.hardware


def _examples(plan: Plan, study: RunningStudy) -> Hybrids | None:
    """A few hybrids of NatMU's first run for a picture, if NatMU takes part."""
    methods = methods_of(study.recipe)
    planned = next((run for run in plan.runs if isinstance(methods[run.label], NatMU)), None)
    source = None if planned is None else study.outcomes[planned.source.digest].run
    if planned is None or source is None:
        return None
    method = methods[planned.label]
    assert isinstance(method, NatMU), "it was chosen so"
    with suppress(NatmuError):  # where NatMU cannot serve this forget set, its row of the table says why
        workspace = study.workspace
        data, forget = workspace.training_data(planned.forget), workspace.forget_set(planned.forget)
        model, seed = workspace.load(source), planned.model.seed
        return hybrid_examples(method, Problem(model, data, forget, None, workspace.compute, seed))
    return None
