"""The verbs of the command line on single models: train, unlearn, audit, with the run folders as their memory."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from natmu.data import resolve_forget
from natmu.engine.compute import Compute
from natmu.engine.settings import TrainSettings
from natmu.engine.store import Run, Store, digest_of, open_run
from natmu.errors import DataError, ModelError, SettingError, UsageError
from natmu.methods import Retrain, method_named
from natmu.progress import say
from natmu.scores import scores
from natmu.scores.panel import Level
from natmu.study.auditing import Audit, write_audit
from natmu.study.cast import NUMBERS
from natmu.study.jobs import Bench, Original, import_original, load_data, train_original, unlearn_from
from natmu.study.recipe import DataSettings
from natmu.study.refusal import refuse
from natmu.study.statistics import statistics_of
from natmu.study.table import Cell, Replicate, columns, table_rows
from natmu.types import ORIGINAL, RETRAINED


def train(
    *,
    data: Mapping[str, Any],
    data_dir: Path,
    model: str,
    training: Mapping[str, Any],
    seed: int,
    device: str,
    precision: str,
    sync_batch_norm: bool = False,
    root: Path,
    name: str | None,
    resume: bool,
) -> Run:
    """Train an original model, or find it in the store.

    Args:
        data: Values for ``DataSettings``.
        data_dir: Where the data lies.
        model: Name of the architecture.
        training: Values for ``TrainSettings``.
        seed: Of initial weights, order and augmentation.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        precision: ``auto``, ``fp32`` or ``bf16``.
        sync_batch_norm: With several processes, whether batch normalisation sees the rows of all of them.
        root: Folder of all runs.
        name: Name of the run folder; its digest if None.
        resume: Whether to continue an interrupted run.

    Raises:
        UsageError: Something asked for cannot be done.
        TrainingError: The loss is no longer finite.
    """
    recipe = TrainSettings.parse(training)
    compute = Compute.choose(device, precision, sync_batch_norm=sync_batch_norm)
    bench = _bench(DataSettings.parse(data, "data"), data_dir, model, recipe, compute, Store(root), resume)
    return train_original(bench, seed, name).run


def unlearn_run(
    *,
    source: Path,
    data: Mapping[str, Any],
    data_dir: Path,
    model: str | None,
    forget: str,
    method: str,
    settings: Mapping[str, Any],
    batch_size: int | None,
    seed: int,
    device: str,
    precision: str,
    sync_batch_norm: bool = False,
    root: Path,
    name: str | None,
    resume: bool,
) -> Run:
    """Unlearn from a run folder, or from a weights file that was trained elsewhere.

    Args:
        source: A run folder of a trained model, or a ``.safetensors``, ``.pt`` or ``.pth`` file.
        data: Values for ``DataSettings``; needed with a weights file, otherwise read from the run, except that another
            ``source`` says where the same data lies now.
        data_dir: Where the data lies.
        model: Architecture; needed with a weights file, otherwise read from the run.
        forget: Forget spec.
        method: Name of the method.
        settings: Its settings.
        batch_size: Samples per step; the original's if None.
        seed: Of a random forget set and of the method.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        precision: ``auto`` (the original's), ``fp32`` or ``bf16``.
        sync_batch_norm: With several processes, whether batch normalisation sees the rows of all of them.
        root: Folder of all runs.
        name: Name of the run folder; its digest if None.
        resume: Whether to continue an interrupted run.

    Raises:
        UsageError: Something asked for cannot be done.
        TrainingError: The loss is no longer finite.
    """
    chosen = method_named(method)(**settings)
    if batch_size is not None and isinstance(chosen, Retrain):
        raise SettingError("retrain uses the original's batch size; leave --batch-size out.")
    refuse_early = partial(refuse, texts=[forget], methods=[(method, chosen)], seed=seed, batch_size=batch_size)
    if source.is_dir():
        given = {name for name, value in data.items() if value and name != "source"}
        if model is not None or given:
            raise SettingError(
                f"{source} says its own --model, --image-size, --train-size and --holdout; leave them out."
            )
        original = open_original(
            source,
            data_dir,
            device,
            Store(root),
            data.get("source"),
            precision=precision,
            sync_batch_norm=sync_batch_norm,
            resume=resume,
        )
        refuse_early(original.bench, trained_here=original.trained_here)
    else:
        if data.get("source") is None or model is None:
            raise ModelError(f"{source} is not a run folder; with a weights file, --data and --model are needed too.")
        compute = Compute.choose(device, precision, sync_batch_norm=sync_batch_norm)
        bench = _bench(DataSettings.parse(data, "data"), data_dir, model, TrainSettings(), compute, Store(root), resume)
        refuse_early(bench, trained_here=False)
        original = import_original(bench, source)
    forgotten = resolve_forget(forget, original.bench.splits.train, seed=seed, hardness=original.hardness())
    return unlearn_from(original, forgotten, chosen, seed=seed, batch_size=batch_size, name=name)


def open_original(
    path: Path,
    data_dir: Path,
    device: str,
    store: Store,
    source: str | None = None,
    *,
    precision: str = "auto",
    sync_batch_norm: bool = False,
    resume: bool = True,
) -> Original:
    """The trained model in a run folder, with the data and the recipe that its spec names.

    Args:
        path: The run folder.
        data_dir: Where the data lies.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        store: Where runs made from it are kept.
        source: Where the same data is to be had now, if not where the spec says.
        precision: ``auto`` (the original's), ``fp32`` or ``bf16``.
        sync_batch_norm: With several processes, whether batch normalisation sees the rows of all of them.
        resume: Whether unfinished runs are continued.

    Raises:
        UsageError: The folder holds no trained model, or the data is not what it was trained on.
    """
    run = open_run(path)
    spec = run.record.spec
    if spec["kind"] not in ("train", "import"):
        raise ModelError(f"{path} holds an unlearned model; name the run of its original.")
    precision = spec["precision"] if precision == "auto" else precision
    compute = Compute.choose(device, precision, sync_batch_norm=sync_batch_norm)
    digests = spec["data"]["digests"]
    said = {key: value for key, value in spec["data"].items() if key != "digests"}
    asked = DataSettings.parse(said | ({} if source is None else {"source": source}), "data")
    recipe = TrainSettings.parse(spec["training"], "training")
    bench = _bench(asked, data_dir, spec["model"], recipe, compute, store, resume)
    if bench.base_spec["data"]["digests"] != digests:
        raise DataError(f"The data in {data_dir} is not what {path} was made with; give the folder that it came from.")
    if bench.base_spec.get("model_source") != spec.get("model_source"):
        raise ModelError(f"The file that defines {spec['model']} has changed since {path} was trained; restore it.")
    return Original(bench, run, spec.get("seed", 0))


def audit_run(
    path: Path,
    data_dir: Path,
    level: Level,
    references: int | None,
    device: str,
    source: Path | None = None,
    *,
    offline: bool = False,
) -> dict[str, Any]:
    """Judge an unlearned model beside its original and retrained models, which are trained if they are missing.

    Args:
        path: Run folder of an unlearned model; the audit is written into it.
        data_dir: Where the data lies.
        level: How much is asked for.
        references: How many retrained models to compare with; those of the level if None.
        device: Where missing models are trained.
        source: Run folder of the original, if it does not lie beside this one.
        offline: Whether to make do with the runs that there are, without any data.

    Returns:
        A table as ``natmu bench`` writes it, and what was written to ``audit.json`` as ``audit``.

    Raises:
        UsageError: The folder holds no unlearned model, or its original is not in the store beside it.
    """
    run = open_run(path)
    if run.record.spec["kind"] != "unlearn":
        raise UsageError(f"{path} holds an original model; audit the run of a model unlearned from it.")
    store, found = Store(run.path.resolve().parent), _original_run(run, source)
    audit = Audit(run, store, level, references or NUMBERS[level], found)
    data = None
    if not offline:
        original = _opened(found, run, store, data_dir, device)
        if not original.trained_here:
            say("The recipe of the original is not known; references are trained with the default one of natmu train.")
        audit.train(original)
        data = original.bench.splits.train
    rows, names = _rows(audit), columns([])
    table = {"name": path.name, "score_on": "test", "columns": names, "rows": rows} | statistics_of(rows, names)
    return table | {"audit": write_audit(audit, data)}


def _rows(audit: Audit) -> list[dict[str, Any]]:
    """The original, the retrained models and the audited one as rows of a table."""
    text, label = audit.forget.spec, audit.run.record.spec["method"]
    cells = {(text, name): Cell() for name in (ORIGINAL, RETRAINED, label)}
    originals = [] if audit.original is None else [audit.original]
    for name, runs in ((ORIGINAL, originals), (label, [audit.run]), (RETRAINED, audit.runs["retrained"])):
        for run in runs:
            seed = run.record.spec.get("seed", 0)
            seeds = Replicate(0, seed, None) if name != label else Replicate(0, audit.cast.seed, seed)
            cells[text, name].add(seeds, run, scores(audit.answers(run)), audit.forget)
    return table_rows([text], [ORIGINAL, RETRAINED, label], [], cells)


def _original_run(run: Run, source: Path | None) -> Run:
    """The run of the original of an unlearned model: where the user says, or in the same store."""
    wanted, store = digest_of(run.record.spec["original"]), Store(run.path.resolve().parent)
    found = store.find(wanted) if source is None else open_run(source)
    if found is None or found.record.digest != wanted:
        where = store.root if source is None else source
        raise UsageError(f"The original of {run.path} is not in {where}; name its run folder with --from.")
    return found


def _opened(found: Run, run: Run, store: Store, data_dir: Path, device: str) -> Original:
    """The original with its data, in the precision of the run."""
    spec = run.record.spec
    synced = spec.get("sync_batch_norm", False)
    return open_original(found.path, data_dir, device, store, precision=spec["precision"], sync_batch_norm=synced)


def _bench(
    data: DataSettings,
    data_dir: Path,
    model: str,
    training: TrainSettings,
    compute: Compute,
    store: Store,
    resume: bool,
) -> Bench:
    """The bench for data that is asked for by its settings."""
    splits = load_data(data, data_dir)
    return Bench(data, splits, model, training, compute, store, resume)
