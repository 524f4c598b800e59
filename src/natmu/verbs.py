"""The verbs of the command line on single runs: train, unlearn, audit, with run folders as their memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from natmu.audits import NUMBERS, RunAudit, obtain_models, write
from natmu.engine.compute import Compute
from natmu.engine.store import Run, Store
from natmu.errors import DataError, ModelError, SettingError, UsageError
from natmu.lineage import Workspace, import_model, obtain, outcome_of, problem_of
from natmu.lineage.costs import head_line
from natmu.lineage.graph import sources
from natmu.lineage.original_check import check_run
from natmu.lineage.refusal import refuse
from natmu.methods import Method, Retrain, method_named
from natmu.methods.rate_trial import with_suitable_rate
from natmu.progress import say
from natmu.records.audit import Audit
from natmu.records.derived import decider_of, forget_of, is_original, knows_initial_weights, original_of, root_of
from natmu.records.forgetting import parse_forget
from natmu.records.lineage import Imported, Initial, Probed, Relearned, Trained, Unlearned
from natmu.records.run import RECORD, open_run
from natmu.records.settings import DataSettings, TrainSettings
from natmu.records.table import Results
from natmu.scores import scores
from natmu.scores.panel import Level
from natmu.scores.statistics import statistics_of
from natmu.studies.table import Cell, columns, table_rows
from natmu.types import ORIGINAL, RETRAINED


@dataclass(frozen=True)
class Place:
    """Where a run is made and kept.

    Attributes:
        data_dir: Where the data lies.
        root: Folder of all runs.
        name: Name of the run folder; its digest if None.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        precision: ``auto``, ``fp32`` or ``bf16``.
        sync_batch_norm: With several processes, whether batch normalisation sees the rows of all of them.
        resume: Whether to continue an interrupted run.
    """

    data_dir: Path
    root: Path
    name: str | None = None
    device: str = "auto"
    precision: str = "auto"
    sync_batch_norm: bool = False
    resume: bool = True

    def workspace(self, data: DataSettings, model: str) -> Workspace:
        """The data and an architecture.

        Raises:
            UsageError: The data or the device cannot be had.
        """
        compute = Compute.choose(self.device, self.precision, sync_batch_norm=self.sync_batch_norm)
        return Workspace.open(data, self.data_dir, model, compute, Store(self.root), resume=self.resume)


def train_run(*, data: Mapping[str, Any], model: str, training: Mapping[str, Any], seed: int, place: Place) -> Run:
    """Train an original model, or find it in the store.

    Args:
        data: Values for ``DataSettings``.
        model: Name of the architecture.
        training: Values for ``TrainSettings``.
        seed: Of initial weights, order and augmentation.
        place: Where.

    Raises:
        UsageError: Something asked for cannot be done.
        TrainingError: The loss is no longer finite.
    """
    recipe = TrainSettings.parse(training)
    workspace = place.workspace(DataSettings.parse(data, "data"), model)
    return obtain(workspace.original(recipe, seed), workspace, place.name)


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
    """

    forget: str
    method: str = "natmu"
    settings: Mapping[str, Any] = field(default_factory=dict)
    batch_size: int | None = None
    seed: int = 0
    split_seed: int | None = None

    def chosen(self) -> Method:
        """The method with its settings.

        Raises:
            SettingError: A setting is unknown or out of its range.
        """
        method = method_named(self.method)(**self.settings)
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


def unlearn_run(
    asked: Asked, *, source: Path, data: Mapping[str, Any], model: str | None, place: Place, force: bool = False
) -> Run:
    """Unlearn from a run folder, which may have forgotten something already, or from weights trained elsewhere.

    Args:
        asked: What is to be forgotten, and how.
        source: A run folder of a trained or unlearned model, or a ``.safetensors``, ``.pt`` or ``.pth`` file.
        data: Values for ``DataSettings``; needed with a weights file, otherwise read from the run, except that another
            ``source`` says where the same data lies now.
        model: Architecture; needed with a weights file, otherwise read from the run.
        place: Where; the precision ``auto`` is that of the original.
        force: Whether to go on with an original that does not seem to belong to the data.

    Raises:
        UsageError: Something asked for cannot be done.
        TrainingError: The loss is no longer finite.
    """
    method, request = asked.chosen(), parse_forget(asked.forget)
    split_seed = asked.seed if asked.split_seed is None else asked.split_seed
    start, workspace, known, recipe = opened(source, data, model, place)
    refuse(
        workspace,
        recipe,
        [request],
        [(asked.method, method)],
        seed=split_seed,
        batch_size=asked.batch_size,
        trained_here=known,
        before=None if start is None else workspace.forgotten_by(start),
    )
    start = start or import_model(workspace, source, recipe, force=force or isinstance(method, Retrain))
    forget = workspace.forget(request, split_seed, start)
    at = workspace.arithmetic
    result = outcome_of(method, start, forget, seed=asked.seed, batch_size=asked.batch_size, at=at)
    if source.is_dir():
        beside = Store(source.resolve().parent)
        for needed in sources(result):
            found = Run(source) if needed == start else beside.find(needed.digest)
            if found is not None:
                workspace.store.adopt(found)
    original = Run(source) if source.is_dir() else workspace.require(start)
    check_run(original, workspace, workspace.forget_set(forget), force=force or isinstance(method, Retrain))
    if isinstance(result, Unlearned):
        known_recipe = None if isinstance(root_of(start), Imported) else recipe
        problem = problem_of(result, workspace)
        say(head_line(method, problem, original, recipe_known=known_recipe is not None))
        method, _ = with_suitable_rate(method, problem, known_recipe, asked.settings)
        result = outcome_of(method, start, forget, seed=asked.seed, batch_size=asked.batch_size, at=at)
    return obtain(result, workspace, place.name)


def opened(
    source: Path, data: Mapping[str, Any], model: str | None, place: Place
) -> tuple[Trained | Imported | Unlearned | None, Workspace, bool, TrainSettings]:
    """The model to unlearn from, None where it has yet to be imported, and its data.

    Returns:
        Beside these, whether its initial weights are known, and how models are trained that it is compared with.
    """
    if source.is_dir():
        given = {name for name, value in data.items() if value and name != "source"}
        if model is not None or given:
            raise SettingError(
                f"{source} says its own --model, --image-size, --train-size and --holdout; leave them out."
            )
        start, workspace = open_model(source, place, data.get("source"))
        return start, workspace, knows_initial_weights(root_of(start)), start.recipe
    if (source.resolve().parent / RECORD).exists():
        raise ModelError(f"{source} is a file of a run; name its folder, which knows what was forgotten.")
    if data.get("source") is None or model is None:
        raise ModelError(f"{source} is not a run folder; with a weights file, --data and --model are needed too.")
    return None, place.workspace(DataSettings.parse(data, "data"), model), False, TrainSettings()


def open_model(path: Path, place: Place, source: str | None = None) -> tuple[Trained | Imported | Unlearned, Workspace]:
    """The model in a run folder, with the data that its lineage names.

    Args:
        path: The run folder.
        place: Where models made from it are kept; the precision ``auto`` is that of the original.
        source: Where the same data is to be had now, if not where the lineage says.

    Raises:
        UsageError: The folder holds no model that can forget, or the data is not what it was trained on.
    """
    run = open_run(path)
    model = run.record.lineage
    if isinstance(model, Initial | Relearned | Probed) or not is_original(original_of(model)):
        raise ModelError(f"{path} holds a part of an audit; name the run of an original or of an unlearned model.")
    if place.precision == "auto":
        place = replace(place, precision=model.arithmetic.precision)
    told = model.data.model_dump(exclude={"digests"}) | ({} if source is None else {"source": source})
    workspace = place.workspace(DataSettings.parse(told, "data"), model.architecture.name)
    if workspace.data.digests != model.data.digests:
        where = place.data_dir if source is None else source
        raise DataError(f"The data in {where} is not what {path} was made with; give the folder that it came from.")
    if workspace.architecture != model.architecture:
        raise ModelError(f"The file that defines {workspace.model} has changed since {path} was trained; restore it.")
    forget = forget_of(model)
    if forget is not None:
        workspace.remember(forget, run.forget())
    workspace.remember_all(model, Store(path.resolve().parent))
    return model, workspace


def audit_run(
    path: Path,
    *,
    level: Level,
    references: int | None,
    data_dir: Path,
    device: str = "auto",
    source: Path | None = None,
    offline: bool = False,
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
        force: Whether to go on with an original that does not seem to belong to the data.

    Returns:
        The table of the models, and the audit.

    Raises:
        UsageError: The folder holds no unlearned model, or its original is not in the store beside it.
    """
    run = Run(open_run(path).path)
    store = Store(run.path.resolve().parent)
    original = _original(run, store, source)
    audit = RunAudit(run, original, store, level, references or NUMBERS[level])
    data = None
    if not offline:
        if isinstance(original.record.lineage, Imported):
            say("The recipe of the original is not known; references are trained with the default one of natmu train.")
        arithmetic = audit.models.subject.arithmetic
        place = Place(data_dir, store.root, device=device, precision=arithmetic.precision)
        synced = replace(place, sync_batch_norm=arithmetic.sync_batch_norm)
        _, workspace = open_model(original.path, synced)
        check_run(original, workspace, audit.forget, force=force)
        obtain_models(audit, workspace)
        data = workspace.splits.train
    return _table(audit), write(audit, data)


def _original(run: Run, store: Store, source: Path | None) -> Run:
    """The run of the original of a model: where the user says, or in the same store."""
    subject = run.record.lineage
    if not isinstance(subject, Trained | Unlearned) or forget_of(subject) is None:
        raise UsageError("An audit is of an unlearned model; name the run of one, not that of an original.")
    wanted = original_of(subject)
    if source is not None:
        known = [Run(open_run(source).path)]
    else:
        exact = store.find(wanted.digest)
        known = store.all() if exact is None else [exact]
    fitting = [one for one in known if one.record.digest == wanted.digest or _is_like(one, subject)]
    if len(fitting) == 1:
        return fitting[0]
    where = store.root if source is None else source
    if fitting:
        names = ", ".join(one.path.name for one in fitting[:4])
        raise UsageError(f"{where} holds several originals of {run.path}, such as {names}; name one with --from.")
    raise UsageError(f"The original of {run.path} is not in {where}; name its run folder with --from.")


def _is_like(run: Run, subject: Trained | Unlearned) -> bool:
    """Whether a run is of an original that may stand beside a sequence whose root was retrained; of any seed."""
    model, root = run.record.lineage, root_of(subject)
    if not isinstance(root, Trained) or root.on.rule != "all but" or decider_of(root.on.forget) is not None:
        return False
    if not isinstance(model, Trained | Imported) or not is_original(model):
        return False
    return (model.data, model.architecture, model.recipe) == (root.data, root.architecture, root.recipe)


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
    rows = table_rows([text], [ORIGINAL, RETRAINED, label], [], cells)
    comparisons, ranks = statistics_of(rows, names)
    return Results(
        name=audit.run.path.name, score_on="test", columns=names, rows=rows, comparisons=comparisons, ranks=ranks
    )
