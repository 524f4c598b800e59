"""The report of a study: what the page's template is filled with."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from natmu.records.audit import AuditFolder, audit_of
from natmu.records.derived import forget_of
from natmu.records.run import PREDICTIONS, RunFolder
from natmu.records.settings import TrainSettings
from natmu.records.study import StudyAudit, StudyFolder, open_study
from natmu.records.table import Column, Place, Replicate, Row, Table
from natmu.report.commands import launched
from natmu.report.cost_figure import cost_figure, cost_table
from natmu.report.costs import Costs
from natmu.report.descriptions import asked, count, forget_set
from natmu.report.digits import rounded
from natmu.report.distributions import Margins, margins_of_run
from natmu.report.figures import Model, bars
from natmu.report.images import Hybrid, galleries, hybrids
from natmu.report.made_with import made_with
from natmu.report.relatives import run_beside
from natmu.report.tables import ScenarioTable, references_first, table_of
from natmu.report.units import FRACTION, name_of
from natmu.report.views import AuditView, Comparison, Plot, audit_view, comparison, failed_audit_view
from natmu.report.views import Table as Numbers
from natmu.types import ORIGINAL, REFERENCES, RETRAINED

Audited = Mapping[tuple[str, str], StudyAudit]

NO_SCORES = ("avg_gap", "seconds", FRACTION, "passes")
"""Columns that are no score of one model."""


@dataclass(frozen=True)
class ScenarioView:
    """One forget set."""

    key: str
    name: str
    meaning: str
    summary: tuple[str, ...]
    table: ScenarioTable
    scatter: Plot | None
    costs: Numbers | None
    bars: tuple[Plot, ...]
    comparison: Comparison | None
    audits: tuple[AuditView, ...]
    ranks: tuple[tuple[str, tuple[tuple[str, Place], ...], float | None, int], ...]


def study_page(folder: Path) -> dict[str, Any]:
    """Everything that the template of a study shows.

    Args:
        folder: The study folder; the runs lie beside it.

    Raises:
        RunError: Something stored cannot be read.
    """
    study = open_study(folder)
    table = study.table
    stored = {(audit.scenario, audit.label): audit for audit in study.audits}
    names = list(dict.fromkeys(row.scenario for row in table.rows))
    scenarios = [_scenario(study, name, f"f{place}", stored) for place, name in enumerate(names)]
    blends: list[Hybrid] = [] if study.hybrids is None else hybrids(study.hybrids)
    return {
        "kind": "study",
        "title": table.name,
        "subtitle": _subtitle(table, names),
        "asked": asked(table),
        "scenarios": scenarios,
        "audited": any(scenario.audits for scenario in scenarios),
        "score_on": table.score_on,
        "hybrids": blends,
        "hybrids_of": names[0] if names else "",
        "recipe": _yaml(table),
        "file": f"{table.name}.yaml",
        "command": shlex.join(launched(table.hardware.processes, ["bench", f"{table.name}.yaml"])),
        "versions": table.versions,
        "hardware": table.hardware.model_dump(exclude_none=True),
        "replicates": [(row.scenario, row.method, replicate) for row in table.rows for replicate in row.replicates],
        "made_with": made_with,
        "example_run": next((run.run for row in table.rows if _competes(row) for run in row.replicates), None),
    }


def _scenario(study: StudyFolder, name: str, key: str, stored: Audited) -> ScenarioView:
    """One forget set."""
    table = study.table
    rows = sorted((row for row in table.rows if row.scenario == name), key=references_first)
    models = [Model(f"{key}m{place}", row.method, max(0, place - len(REFERENCES))) for place, row in enumerate(rows)]
    by_key = {model.key: row for model, row in zip(models, rows, strict=True)}
    seeds = _seeds(rows)
    runs = {model.key: run for model in models if (run := _run(study, by_key[model.key], seeds)) is not None}
    recipe = table.recipe.training
    costs = Costs(rows, recipe.epochs if isinstance(recipe, TrainSettings) else None)
    ranked = sorted((row for row in rows if _competes(row)), key=_gap)
    return ScenarioView(
        key=key,
        name=name,
        meaning=forget_set(table.request(name)),
        summary=tuple(_summary(rows, ranked)),
        table=table_of(table, name),
        scatter=_scatter(key, models, costs, name),
        costs=cost_table(costs),
        bars=tuple(_bars(key, models, by_key, table.columns, table.score_on)),
        comparison=comparison(
            key, models, runs, _margins(models, runs, table.score_on), [row.method for row in ranked]
        ),
        audits=_audits(name, models, runs, stored) if table.score_on == "test" else (),  # they look at the test set
        ranks=tuple(_ranks(table, name)),
    )


def _competes(row: Row) -> bool:
    return row.method not in REFERENCES and not row.failed and row.scores["avg_gap"] is not None


def _gap(row: Row) -> float:
    """The mean gap of a row that competes."""
    gap = row.scores["avg_gap"]
    assert gap is not None, "it competes"
    return gap.mean


def _seeds(rows: Sequence[Row]) -> tuple[int, int] | None:
    """Split and training seed of the replicate that is shown, the first that a model was retrained with."""
    first = next((replicate for row in rows if row.method == RETRAINED for replicate in row.replicates), None)
    return None if first is None else (first.split, first.training)


def _run(study: StudyFolder, row: Row, seeds: tuple[int, int] | None) -> RunFolder | None:
    """The run folder of a row's first replicate with these seeds, so that all models have the same forget set."""

    def fits(replicate: Replicate) -> bool:
        return seeds is None or (replicate.split, replicate.training) == seeds

    first = next(filter(fits, row.replicates), None)
    return None if first is None else run_beside(study.path, first.run, first.digest)


def _margins(models: Sequence[Model], runs: Mapping[str, RunFolder], unseen: str) -> dict[str, Margins]:
    """Margins of each model on the forget set that its scenario's first run forgot."""
    forgets = {key: run.forget() for key, run in runs.items() if forget_of(run.record.lineage) is not None}
    forget = next(iter(forgets.values()), None)
    if forget is None:
        return {}
    alike = {key for key in runs if key not in forgets or forgets[key].digest == forget.digest}
    return {
        model.key: margins_of_run(runs[model.key], forget, unseen)
        for model in models
        if model.key in alike and runs[model.key].has(PREDICTIONS)
    }


def _summary(rows: Sequence[Row], ranked: Sequence[Row]) -> list[str]:
    """What the table says, in a sentence or two."""
    if not ranked:
        return ["No method has a gap to compare."]
    best = ranked[0]
    sentences = [
        f"{best.method} comes nearest to retraining by avg_gap: {_number(best.scores['avg_gap'])} percentage points"
    ]
    baseline = next((row.scores["avg_gap"] for row in rows if row.method == RETRAINED), None)
    original = next((row.scores["avg_gap"] for row in rows if row.method == ORIGINAL), None)
    sentences[0] += f", where the original is {_number(original)} away" if original else ""
    sentences[0] += f" and retrained models are {_number(baseline)} from each other" if baseline else ""
    if original and original.mean < _gap(best):
        sentences.append("By this score no method did better than leaving the original as it is")
    failed = [row.method for row in rows if row.failed]
    sentences += [f"Not measured, or not with every seed: {', '.join(failed)}"] if failed else []
    return [f"{sentence}." for sentence in sentences]


def _number(column: Column | None) -> str:
    """Mean and spread of a stored column."""
    if column is None:
        return "-"
    mean, spread = rounded(column.mean, column.std)
    return f"{mean} ± {spread}" if spread else mean


def _scatter(key: str, models: Sequence[Model], costs: Costs, name: str) -> Plot | None:
    """Gap against cost."""
    figure = cost_figure(models, costs)
    if figure is None:
        return None
    front = ", ".join(one.label for one in costs.methods if one.standing == "front")
    label = (
        f"Scatter of avg_gap against passes over the training set on {name}, {count(len(costs.methods), 'method')}; on "
        f"the Pareto front: {front}. Numbers are in the table below."
    )
    return Plot(f"{key}-cost", figure, "Gap against cost", label)


def _bars(
    key: str, models: Sequence[Model], rows: Mapping[str, Row], columns: Sequence[str], score_on: str
) -> list[Plot]:
    """One bar chart for each score that retrained models have too."""
    shown = []
    reference = next((row for row in rows.values() if row.method == RETRAINED), None)
    for name in columns:
        if name not in NO_SCORES and reference is not None and reference.scores[name]:
            title = name_of(name, score_on)
            label = (
                f"Bars of {title} for each model, the retrained mean as a dotted line; numbers are in the table above."
            )
            shown.append(Plot(f"{key}-bar-{name}", bars(models, rows, name, title), title, label))
    return shown


def _audits(
    name: str, models: Sequence[Model], runs: Mapping[str, RunFolder], stored: Audited
) -> tuple[AuditView, ...]:
    """The audits of a scenario: those of the study, else those that the run folders hold."""
    folders: dict[str, AuditFolder] = {}
    for model in models:
        folder = audit_of(runs[model.key]) if model.key in runs else None
        if folder is not None:
            folders[model.key] = folder
    exposed = [model.key for model in models if model.key in folders and model.label not in REFERENCES]
    pictures = dict(zip(exposed, galleries([folders[key] for key in exposed]), strict=True))
    views = []
    for model in models:
        of_study = stored.get((name, model.label))
        if of_study is not None and of_study.audit is None:
            views.append(failed_audit_view(of_study))
        elif of_study is not None and of_study.audit is not None:
            views.append(audit_view(model.label, of_study.audit, pictures.get(model.key, ())))
        elif model.key in folders:
            views.append(audit_view(model.label, folders[model.key].audit, pictures.get(model.key, ())))
    return tuple(views)


def _ranks(table: Table, name: str) -> list[tuple[str, tuple[tuple[str, Place], ...], float | None, int]]:
    """Score, methods with their ranks over seeds, agreement and number of seeds."""
    return [
        (ranks.score, tuple(sorted(ranks.methods.items(), key=lambda item: item[1].mean)), ranks.agreement, ranks.n)
        for ranks in table.ranks
        if ranks.scenario == name
    ]


def _yaml(table: Table) -> str:
    """The recipe as a file, without what is empty anyway, in the precision that it was run in."""
    recipe = table.recipe
    plain = recipe.model_dump(mode="json")
    kept = {name: value for name, value in plain.items() if value is not None} | {"precision": table.hardware.precision}
    kept["methods"] = [{name: value for name, value in entry.items() if value} for entry in plain["methods"]]
    for name in ("data", "executor"):
        kept[name] = {key: value for key, value in plain[name].items() if value is not None}
    if recipe.executor.kind == "local":
        kept["executor"] = {name: value for name, value in kept["executor"].items() if name in ("kind", "cpus")}
    return str(yaml.safe_dump(kept, sort_keys=False, allow_unicode=True, width=100, default_flow_style=None))


def _subtitle(table: Table, names: Sequence[str]) -> str:
    """The study in a line."""
    rows = [row for row in table.rows if row.method not in REFERENCES] or table.rows
    methods = {row.method for row in table.rows} - {*REFERENCES}
    where = f"{table.recipe.model} on {table.recipe.data.source}: "
    seeds = max((row.n for row in rows), default=0)
    return f"{where}{count(len(methods), 'method')}, {count(len(names), 'forget set')}, {count(seeds, 'seed')}"
