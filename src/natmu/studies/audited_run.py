"""The audit of one run, and the small table of the models that it compares."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from natmu.audits import NUMBERS, RunAudit, obtain_models, original_of, write
from natmu.engine.store import Run, Store
from natmu.errors import UsageError
from natmu.lineage.single_runs import Place, open_original
from natmu.progress import say
from natmu.records.audit import Audit
from natmu.records.lineage import Imported, Trained, Unlearned
from natmu.records.run import open_run
from natmu.records.table import Results
from natmu.scores import scores
from natmu.scores.panel import Level
from natmu.studies.statistics import statistics_of
from natmu.studies.table import Cell, columns, table_rows
from natmu.types import ORIGINAL, RETRAINED


def audit_run(
    path: Path,
    *,
    level: Level,
    references: int | None,
    data_dir: Path,
    device: str = "auto",
    source: Path | None = None,
    offline: bool = False,
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
        _, workspace = open_original(original.path, synced)
        obtain_models(audit, workspace)
        data = workspace.splits.train
    return _table(audit), write(audit, data)


def _original(run: Run, store: Store, source: Path | None) -> Run:
    """The run of the original of a model: where the user says, or in the same store."""
    subject = run.record.lineage
    wanted = original_of(subject)
    found = store.find(wanted.digest) if source is None else Run(open_run(source).path)
    fits = found is not None and (found.record.digest == wanted.digest or _is_like(found, subject))
    if found is None or not fits:
        where = store.root if source is None else source
        raise UsageError(f"The original of {run.path} is not in {where}; name its run folder with --from.")
    return found


def _is_like(found: Run, subject: object) -> bool:
    """Whether a retrained model may have been trained in place of an original, whose seed may be another."""
    model = found.record.lineage
    if not isinstance(subject, Trained) or not isinstance(model, Trained | Imported) or subject.on.rule != "all but":
        return False
    kept = (model.data, model.architecture, model.recipe) == (subject.data, subject.architecture, subject.recipe)
    return kept and subject.on.forget.by is None


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
