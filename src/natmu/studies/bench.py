"""Running a recipe: the models that it wants, an executor that makes them, audits, one table."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from natmu.audits import NUMBERS, RunAudit, obtain_models, write
from natmu.engine import processes
from natmu.engine.compute import Compute, hardware, versions
from natmu.engine.store import Run, Store
from natmu.engine.threads import threads
from natmu.errors import NatmuError, RunError
from natmu.lineage import Workspace, in_order
from natmu.lineage.executors.local import make_here
from natmu.lineage.executors.outcomes import Outcome, Outcomes, attempt, failure
from natmu.lineage.executors.ray import driver_compute, make_on_ray
from natmu.lineage.refusal import refuse
from natmu.machine import raise_passing
from natmu.methods import NatMU, Problem
from natmu.methods.examples import hybrid_examples
from natmu.opening import Place as OpenPlace
from natmu.opening_backbones import open_backbone
from natmu.progress import say, showing, task
from natmu.records.audit import audit_of
from natmu.records.derived import is_original, knows_initial_weights, title
from natmu.records.lineage import AnyLineage, Backbone, Trained
from natmu.records.run import PREDICTIONS, WEIGHTS, Hardware
from natmu.records.settings import LogisticTraining, RidgeTraining
from natmu.records.study import Hybrids, StudyAudit, StudyAudits, write_study
from natmu.records.table import Table
from natmu.scores.statistics import statistics_of
from natmu.studies.originals import (
    Original,
    given_original,
    keep_original,
    own_training,
    require_recipe,
    with_original,
    with_resolved_training,
)
from natmu.studies.plan import Place, Plan, PlannedRun, audit_models, methods_of, plan_of
from natmu.studies.recipe import Recipe
from natmu.studies.searched import searched_in
from natmu.studies.table import LOGS, Scorer, Scores, cells_of, columns, table_rows
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
        study = _Study(recipe, workspace, plan, Scorer(recipe), folder / LOGS)
        with threads(recipe.executor.cpus):
            _make(study, plan.models, folder / LOGS)
            if recipe.audit is not None:
                _audit(study, folder / LOGS)
        if processes.writes():
            _write(study, unserved, folder)
    return processes.agree(lambda: folder)


@dataclass
class _Study:
    """What is known of a study that runs.

    Attributes:
        recipe: What was asked for.
        workspace: Where the models are made.
        plan: The models.
        scorer: Scores them.
        logs: Folder of logs.
        outcomes: What became of each model, by its digest.
        audits: What became of the audit of each row.
        trained: The trained models by the digest of their weights.
    """

    recipe: Recipe
    workspace: Workspace
    plan: Plan
    scorer: Scorer
    logs: Path
    outcomes: Outcomes = field(default_factory=dict)
    audits: dict[Place, Outcome] = field(default_factory=dict)
    trained: dict[str, Trained] = field(default_factory=dict)

    def __post_init__(self) -> None:
        runs = [*reversed(self.plan.runs)]
        own = {run.source.digest: f"{ORIGINAL} of {run.label}, seed {run.original}" for run in runs if run.own}
        self._originals = {model.digest: own.get(model.digest, title(model)) for model in self.plan.originals}
        self._names = {run.model.digest: run.name for run in runs}

    def note(self, model: AnyLineage, outcome: Outcome) -> None:
        """Keep what became of a model, and say it in a line; a damaged run is a failure of this model alone."""
        name = self._names.get(model.digest) or self._originals.get(model.digest) or title(model)
        outcome = self._readable(name, outcome)
        self.outcomes[model.digest] = outcome
        if outcome.run is None:
            say(f"{name}: failed. {outcome.failed}")
        elif model.digest in self._names:
            say(f"{name}: {_brief(self.scorer.scores(outcome.run, outcome.run.forget()), outcome.run)}")
        elif is_original(model):
            hidden = "test" if self.recipe.score_on == "holdout" else "holdout"
            seen = {name: value for name, value in outcome.run.record.scores.items() if not name.startswith(hidden)}
            say(f"{name}: {_brief(seen, outcome.run)}")
        if outcome.run is not None and isinstance(model, Trained) and not isinstance(model.recipe, RidgeTraining):
            earlier = self.trained.setdefault(outcome.run.record.files[WEIGHTS], model)
            if earlier.seed != model.seed:
                say(
                    f"warning: {title(model)} has the same weights as {title(earlier)}, so the spread over seeds is "
                    "too small; let the trainer use the seed that it is given."
                )

    def _readable(self, name: str, outcome: Outcome) -> Outcome:
        """What became of a model, once everything of its run is read that the table needs."""
        run = outcome.run
        if run is None:
            return outcome
        try:
            if run.record.forgotten is not None:
                self.scorer.scores(run, run.forget())
            elif run.has(PREDICTIONS):
                run.outputs()
        except RunError as error:
            raise_passing(error)
            return failure(name, str(error), traceback.format_exc(), self.logs, key=run.path.name)
        return outcome

    def note_audit(self, place: Place, outcome: Outcome) -> None:
        """Keep what became of the audit of a row, and say it in a line."""
        self.audits[place] = outcome
        text, label = place
        audit = None if outcome.run is None else audit_of(outcome.run)
        found = None if audit is None else audit.audit
        verdict = f"failed. {outcome.failed}" if found is None else f"{found.forgotten.sentence} {found.kept.sentence}"
        say(f"audit of {label}, {text}: {verdict}")

    def study_audits(self) -> StudyAudits:
        """Every audit, as it stands beside the run under audit, or why there is none."""
        found = []
        for (text, label), outcome in self.audits.items():
            folder = None if outcome.run is None else audit_of(outcome.run)
            audit = None if folder is None else folder.audit
            log = None if outcome.log is None else f"{LOGS}/{outcome.log}"
            found.append(StudyAudit(scenario=text, label=label, audit=audit, failed=outcome.failed, log=log))
        return StudyAudits(name=self.recipe.name, audits=tuple(found))


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


def _make(study: _Study, models: Sequence[AnyLineage], logs: Path) -> None:
    """Make models where the recipe says, and note what becomes of them."""
    recipe, workspace = study.recipe, study.workspace
    executor = recipe.executor

    def outcomes() -> Iterator[tuple[AnyLineage, Outcome]]:
        if executor.kind == "ray":
            return make_on_ray(models, workspace, logs, executor)
        return make_here(models, workspace, logs, side_by_side=executor.cpus is None)

    count = len(in_order(models, workspace.has))
    with task(recipe.name, count) as advance, closing(outcomes()) as made:  # type: ignore[type-var]
        for model, outcome in made:
            study.note(model, outcome)
            advance()


def _audit(study: _Study, logs: Path) -> None:
    """Audit the first replicate of each row that could be made."""
    recipe, workspace, rows = study.recipe, study.workspace, study.plan.rows
    subjects = {
        place: next((run for run in runs if study.outcomes[run.model.digest].run is not None), None)
        for place, runs in rows.items()
    }
    on_ray = recipe.executor.kind == "ray"
    if on_ray:
        wanted = [model for run in subjects.values() if run is not None for model in audit_models(recipe, run)]
        _make(study, [model for model in wanted if not workspace.has(model)], logs)
    with task(f"{recipe.name}: audits", len(subjects)) as advance:
        for (text, label), subject in subjects.items():

            def work(subject: PlannedRun | None = subject, name: str = f"{label}, {text}") -> Run:
                if subject is None:
                    raise RunError(f"There is no model of {name} to audit; all its replicates failed.")
                audit = _audit_of(study, subject)
                if not on_ray:
                    obtain_models(audit, workspace)
                write(audit, workspace.splits.train)
                return audit.run

            outcome = attempt(f"audit of {label}, {text}", work, workspace, logs)
            study.note_audit((text, label), processes.agree(lambda: outcome))  # noqa: B023 - called here
            advance()


def _audit_of(study: _Study, subject: PlannedRun) -> RunAudit:
    """The audit of a run of the study."""
    recipe, store = study.recipe, study.workspace.store
    run, source = (study.outcomes[model.digest].run for model in (subject.model, subject.source))
    assert recipe.audit is not None and run is not None and source is not None, "it was made"  # noqa: PT018
    return RunAudit(run, source, store, recipe.audit, recipe.references or NUMBERS[recipe.audit])


def _write(study: _Study, unserved: dict[Place, str], folder: Path) -> None:
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


def _hardware(study: _Study) -> Hardware:
    """What the models were made on; of a cluster, what the first of them was made on."""
    runs = [outcome.run for outcome in study.outcomes.values() if outcome.run is not None]
    if study.recipe.executor.kind == "local" or not runs:
        with threads(study.recipe.executor.cpus):
            return hardware(study.workspace.compute)
    return runs[0].record.hardware


def _examples(plan: Plan, study: _Study) -> Hybrids | None:
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


def _brief(found: Scores, run: Run) -> str:
    """Scores and a run's seconds in one line."""
    return ", ".join(f"{name} {value:.2f}" for name, value in found.items()) + f" ({run.record.seconds:.1f} s)"
