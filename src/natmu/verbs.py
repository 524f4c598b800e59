"""The verbs of the command line on single runs: train, unlearn, audit, with run folders as their memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from natmu.arguments import require_forget_only
from natmu.audits import NUMBERS, RunAudit, obtain_models, recipe_of_references, write
from natmu.data import say_what_is_forgotten
from natmu.engine import processes
from natmu.engine.store import Run, Store
from natmu.errors import ModelError, SettingError, UsageError
from natmu.head_training import train_head_run
from natmu.lineage import dropped_outputs, import_model, obtain, outcome_of, problem_of
from natmu.lineage.costs import head_line
from natmu.lineage.exporting import weights_digest
from natmu.lineage.graph import sources
from natmu.lineage.importing import require_undivided
from natmu.lineage.original_check import check_run
from natmu.lineage.own_training import require_trainer, resolved
from natmu.lineage.refusal import refuse, require_scored
from natmu.methods import Method, Retrain, method_named
from natmu.methods.rate_trial import with_suitable_rate
from natmu.models import Outputs, is_pretrained_folder
from natmu.opening import Place, Source, open_model, refuse_part_of_service
from natmu.progress import deciding, say
from natmu.records.audit import AUDIT_FOLDER, Audit, refuse_lesser
from natmu.records.derived import forget_of, original_of, root_of
from natmu.records.disk import require_writable_folder
from natmu.records.lineage import AnyLineage, Trained, Unlearned
from natmu.records.originals import originals_of
from natmu.records.run import open_run
from natmu.records.settings import AnyTraining, DataSettings, TrainSettings, sharding_of, training_of
from natmu.records.table import Results
from natmu.scores import scores
from natmu.scores.panel import Level
from natmu.scores.statistics import statistics_of
from natmu.studies.table import Cell, columns, table_rows
from natmu.types import ORIGINAL, RETRAINED


@deciding()
def train_run(
    *,
    data: Mapping[str, Any],
    model: str | None,
    training: Mapping[str, Any],
    seed: int | None = None,
    place: Place,
    outputs: Outputs = "logits",
    features_from: str | None = None,
) -> Run:
    """Train an original model, or find it in the store.

    Args:
        data: Values for ``DataSettings``.
        model: Name of the architecture; of a head it may be told by the source of the features.
        training: Values for ``TrainSettings``, ``OwnTraining`` or a head.
        seed: Of initial weights, order and augmentation; 0 if None, and drawn for a head that needs a secret one.
        place: Where.
        outputs: What a model that is not ours returns.
        features_from: The model whose features a head is fitted on.

    Raises:
        UsageError: Something asked for cannot be done.
        TrainingError: The loss is no longer finite.
    """
    if "head" in training:
        return train_head_run(data, features_from, model, training, seed, place, outputs)
    if model is None:
        raise ModelError("Name the architecture to train with --model; natmu models lists ours.")
    seed = seed or 0
    recipe = resolved(training_of(training))
    told = model, recipe, seed
    place.refuse_taken(lambda made: isinstance(made, Trained) and _told_of(made) == told)
    workspace = place.workspace(DataSettings.parse(data, "data"), model, outputs)
    return obtain(workspace.original(recipe, seed), workspace, place.name)


def _told_of(made: Trained) -> tuple[str, AnyTraining, int]:
    """What a user says of a training beside the data."""
    return made.architecture.name, made.recipe, made.seed


@dataclass(frozen=True)
class Asked:
    """What is to be forgotten, and how.

    Attributes:
        forget: The request, as text.
        method: Name of the method.
        settings: Its settings.
        batch_size: Samples per step; the original's if None.
        seed: Of the method.
        split_seed: Of a random forget set; that of the method if None.
        forget_only: Whether methods that read samples that are kept are refused.
        copies: Whether byte-identical copies of the samples are forgotten with them.
        manifest: A table of samples for a request that names a column and no table.
        drop_class: Whether the classes that are forgotten lose their outputs too.
    """

    forget: str
    method: str = "natmu"
    settings: Mapping[str, Any] = field(default_factory=dict)
    batch_size: int | None = None
    seed: int = 0
    split_seed: int | None = None
    forget_only: bool = False
    copies: bool = False
    manifest: Path | None = None
    drop_class: bool = False

    def chosen(self) -> Method:
        """The method with its settings.

        Raises:
            SettingError: A setting is unknown or out of its range, or the method reads what it may not.
        """
        method = method_named(self.method)(**self.settings)
        if self.forget_only:
            require_forget_only(method)
        if self.drop_class and isinstance(method, Retrain):
            raise SettingError(
                "retrain makes a model with an output for every class. Choose another method, or retrain without "
                "--drop-class: no sample of the class is left."
            )
        if self.batch_size is None:
            return method
        if isinstance(method, Retrain):
            raise SettingError("retrain uses the original's batch size; leave --batch-size out.")
        if method.batch_size is not None:
            raise SettingError(
                f"The settings of {method.name} give batches of {method.batch_size}; leave --batch-size out, or change "
                "it with --set batch_size=NUMBER."
            )
        return method


@deciding()
def unlearn_run(asked: Asked, source: Source, place: Place, *, force: bool = False) -> Run:
    """Unlearn from a run folder, which may have forgotten something already, or from weights trained elsewhere.

    Args:
        asked: What is to be forgotten, and how.
        source: The model to unlearn from.
        place: Where; the precision ``auto`` is that of the original.
        force: Whether to go on with an original that does not seem to belong to the data.

    Raises:
        UsageError: Something asked for cannot be done.
        TrainingError: The loss is no longer finite.
    """
    method = asked.chosen()
    words = None if asked.manifest else asked.forget
    place.refuse_taken(lambda made: source.may_lead_to(made, words, method=asked.method, seed=asked.seed))
    split_seed = asked.seed if asked.split_seed is None else asked.split_seed
    opened = source.open(place)
    start, workspace, recipe = opened.model, opened.workspace, opened.recipe
    if start is not None and recipe is not None and isinstance(method, Retrain):
        require_trainer(recipe, workspace)
    request = opened.request(asked.forget, asked.manifest)
    refuse(
        workspace,
        recipe,
        [request],
        [(asked.method, method)],
        seed=split_seed,
        batch_size=asked.batch_size,
        trained_here=opened.knows_initial_weights,
        before=None if start is None else workspace.forgotten_by(start),
        copies=asked.copies,
    )
    if asked.drop_class and sharding_of(recipe) is not None:
        raise SettingError(
            "A model of shards has an output layer in each of them; forget the class without --drop-class."
        )
    dropped = dropped_outputs(workspace, request) if asked.drop_class else None
    force = force or isinstance(method, Retrain)  # which uses no knowledge of the original
    start = start or import_model(workspace, source.path, recipe, force=force)
    forget = workspace.forget(request, split_seed, start, copies=asked.copies)

    def made_by(method: Method) -> Trained | Unlearned:
        at = workspace.arithmetic
        size = asked.batch_size
        return outcome_of(method, start, forget, seed=asked.seed, batch_size=size, at=at, dropped=dropped)

    result = made_by(method)
    if source.is_run:
        _adopt(result, start, source.path, workspace.store)
    original = Run(source.path) if source.is_run else workspace.require(start)
    splits, forgotten = workspace.splits, workspace.forget_set(forget)
    check_run(original, workspace, forgotten, force=force)
    say_what_is_forgotten(forgotten, splits.train, test=splits.test, holdout=splits.holdout)
    if isinstance(result, Unlearned):
        problem = problem_of(result, workspace)
        if not method.needs_head:  # which takes less time than an estimate
            say(head_line(method, problem, original, workspace.store))
        told = recipe if isinstance(recipe, TrainSettings) else None
        suited, _ = with_suitable_rate(method, problem, told, asked.settings, forget_only=asked.forget_only)
        result = made_by(suited)
    return obtain(result, workspace, place.name)


def _adopt(result: Trained | Unlearned, start: AnyLineage, folder: Path, store: Store) -> None:
    """Let a store use the runs that a model is made from, which lie beside the one that it starts from."""
    beside = Store(folder.resolve().parent)
    for needed in sources(result):
        found = Run(folder) if needed == start else beside.find(needed.digest)
        if found is not None:
            store.adopt(found)


@deciding()
def audit_run(
    path: Path,
    *,
    level: Level,
    references: int | None,
    data_dir: Path,
    device: str = "auto",
    source: Path | None = None,
    offline: bool = False,
    training: Mapping[str, Any] | None = None,
    force: bool = False,
) -> tuple[Results, Audit]:
    """Judge a model beside its original and retrained models, which are trained if they are missing.

    Args:
        path: Run folder of an unlearned or retrained model; the audit is written into it.
        level: How much is asked for.
        references: How many retrained models to compare with; those of the level if None.
        data_dir: Where the data lies.
        device: Where missing models are trained.
        source: Run folder of the original, if it does not lie beside this one.
        offline: Whether to make do with the runs that there are, without any data.
        training: How an original from elsewhere was trained: values for ``TrainSettings`` or ``OwnTraining``.
        force: Whether to go on with an original that does not seem to belong to the data, and to replace an audit that
            says more.

    Returns:
        The table of the models, and the audit.

    Raises:
        UsageError: The folder holds no unlearned model or a better audit, its original is not in the store beside it,
            or nobody says how that was trained.
    """
    run = Run(open_run(path).path)
    refuse_part_of_service(run)
    store = Store(run.path.resolve().parent)
    original = _original(run, store, source)
    told = None if training is None else resolved(training_of(training))
    require_undivided(told)
    audit = RunAudit(run, original, store, level, references or NUMBERS[level], told=told)
    recipe = recipe_of_references(audit, offline=offline)
    refuse_lesser(run, level, len(audit.runs["retrained"]) if offline else audit.number, force=force)
    processes.agree(lambda: require_writable_folder(run.path / AUDIT_FOLDER, "The folder", "let it be written"))
    data = None
    if not offline:
        arithmetic = audit.models.subject.arithmetic
        place = Place(data_dir, store.root, device=device, precision=arithmetic.precision)
        synced = replace(place, sync_batch_norm=arithmetic.sync_batch_norm)
        _, workspace = open_model(original.path, synced)
        require_scored(workspace.splits, audit.forget, "test")
        if recipe is not None:
            require_trainer(recipe, workspace)
        check_run(original, workspace, audit.forget, force=force)
        obtain_models(audit, workspace)
        data = workspace.splits.train
    refuse_lesser(run, level, len(audit.runs["retrained"]), force=force)  # some of those asked for may not be had
    return _table(audit), write(audit, data)


def _original(run: Run, store: Store, source: Path | None) -> Run:
    """The run of the original of a model: where the user says, or in the same store."""
    subject = run.record.lineage
    if not isinstance(subject, Trained | Unlearned) or forget_of(subject) is None:
        raise UsageError("An audit is of an unlearned model; name the run of one, not that of an original.")
    if source is not None and (source.is_file() or is_pretrained_folder(source)):
        weights = weights_digest(source)
        known = [one for one in store.all() if getattr(one.record.lineage, "weights", None) == weights]
    elif source is not None:
        known = [Run(open_run(source).path)]
    else:
        exact = None if isinstance(root_of(subject), Trained) else store.find(original_of(subject).digest)
        known = store.all() if exact is None else [exact]
    fitting = originals_of(subject, known)
    if len(fitting) == 1:
        return fitting[0]
    where = store.root if source is None else source
    if fitting:
        names = ", ".join(one.path.name for one in fitting[:4])
        more = ", …" if len(fitting) > 4 else ""
        raise UsageError(f"{where} holds several originals of {run.path}, such as {names}{more}; name one with --from.")
    raise UsageError(
        f"The original of {run.path} is not in {where}; name its run folder, or its weights file, with --from."
    )


def _table(audit: RunAudit) -> Results:
    """The original, the retrained models and the audited one."""
    text, subject, source = audit.forget.request, audit.models.subject, audit.models.source
    label = subject.method if isinstance(subject, Unlearned) else "retrain"
    cells = {(text, name): Cell() for name in (ORIGINAL, RETRAINED, label)}
    training = source.seed if isinstance(source, Trained) else 0
    for name, runs in ((ORIGINAL, [audit.original]), (label, [audit.run]), (RETRAINED, audit.runs["retrained"])):
        for run in runs:
            seed = getattr(run.record.lineage, "seed", 0)
            seeds = (0, seed, None) if name != label else (0, training, seed)
            cells[text, name].add(seeds, run, scores(audit.predictions_of(run)), audit.forget)
    names = columns([])
    rows = table_rows([text], [ORIGINAL, RETRAINED, label], [], cells, searched={})
    comparisons, ranks = statistics_of(rows, names)
    return Results(
        name=audit.run.path.name, score_on="test", columns=names, rows=rows, comparisons=comparisons, ranks=ranks
    )
